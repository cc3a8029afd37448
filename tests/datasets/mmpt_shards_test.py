"""MMPT's shards give the values in expected.json, and inconsistent files are refused."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import mutation
import numpy as np
import pytest
from mmpt_writer import CAPTIONS, MOST_TOKENS, VIDEOS, VOCABULARY, features, write

from vtmask.datasets import mmpt_shards
from vtmask.datasets.entries import Skipped, Video
from vtmask.datasets.making import RecordMaker
from vtmask.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "train", 0, VIDEOS)
    write(tmp_path, "train", 1, {"c": (features(3), [(0, 3, [5])])})
    return tmp_path


def entries(folder: Path, vocab_size: int = 600) -> dict[str, Any]:
    actual = mmpt_shards.find(folder, "train", CAPTIONS)
    return {
        name: mmpt_shards.entry(name, video)
        for name, video in mmpt_shards.videos(actual, vocab_size)
    }


def test_published_shards_have_the_expected_records(golden_dir: Path) -> None:
    """`expected.json` has the captions, lengths and sums of features of every video.

    Its captions still have all of their tokens, which shards cut.
    """
    folder = golden_dir / "mmpt_shards"
    if not folder.exists():
        pytest.skip(f"{folder} is not there; --golden-dir names a folder that has it")
    expected = json.loads((folder / "expected.json").read_text())
    splits = [path.name.removesuffix("_meta.pkl") for path in folder.glob("*_meta.pkl")]
    make = RecordMaker(VOCABULARY, 512, seconds_per_feature=1.0, deduplicate=False, seed=0)
    for split in splits:
        names = (folder / f"how2_s3d_{split}.lst").read_text().split()
        actual = dict(
            mmpt_shards.videos(mmpt_shards.find(folder, split, CAPTIONS), VOCABULARY.vocab_size)
        )
        assert list(actual) == names
        for name, video in actual.items():
            example, counts = make(mmpt_shards.entry(name, video))
            assert example is not None and not counts.problems.total()
            record = example[1]
            captions = expected["captions"][name]
            for field in ("start", "end"):
                np.testing.assert_array_equal(
                    record["captions"][field], np.float32(captions[field])
                )
            ids = [ids[:MOST_TOKENS] for ids in captions["cap"]]
            assert record["captions"]["num_tokens"].tolist() == [len(line) for line in ids]
            assert record["captions"]["tokens"].tolist() == sum(ids, [])
            assert len(record["features"]) == expected["lengths"][name]
            assert record["features"].sum(dtype=np.float64) == pytest.approx(
                expected["feature_sums"][name], abs=1e-3
            )
            rows = np.load(video.features.path)[video.features.start : video.features.end]
            np.testing.assert_array_equal(record["features"], rows)
    assert "val" in splits


def test_videos_have_their_features_and_captions(folder: Path) -> None:
    actual = entries(folder)
    assert list(actual) == ["a", "b", "c"]
    for name, (expected, captions) in VIDEOS.items():
        video = pickle.loads(pickle.dumps(actual[name]))
        assert isinstance(video, Video)
        np.testing.assert_array_equal(video.features.read(), expected)
        times = [(line.start, line.end, ids) for line, ids in zip(*captions_of(video), strict=True)]
        assert times == captions
    assert np.array_equal(actual["c"].features.read(), features(3))


def captions_of(video: Video) -> tuple[Any, Any]:
    return video.captions.lines, video.captions.tokens


def test_unusable_videos_are_skipped(tmp_path: Path) -> None:
    bad = {
        "silent": (features(4), []),
        "odd": (features(4), [(0, 1, [5]), (1, 2, [6, -7])]),
        "whole": (features(4), [(0, 1, [5])]),
    }
    write(tmp_path, "train", 0, bad)
    actual = entries(tmp_path)
    reasons = {name: e.reason for name, e in actual.items() if isinstance(e, Skipped)}
    assert reasons["silent"] == "has no captions"
    assert reasons["odd"].startswith("caption 1: has the token id -7")
    assert list(reasons) == ["silent", "odd"]


def test_another_vocabulary_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"train_0.caps_ids_data.npy: has token id 12, but"):
        entries(folder, 12)
    assert entries(folder, 13)


@pytest.mark.parametrize(
    "name",
    [
        "train_meta.pkl",
        "train_1_data.npy",
        "train_1_starts.npy",
        f"{CAPTIONS}.train_1.caps_ids_data.npy",
        f"{CAPTIONS}.train_1.caps_ids_starts.npy",
        f"{CAPTIONS}.train_1.startends_data.npy",
        f"{CAPTIONS}.train_1.startends_starts.npy",
    ],
)
def test_missing_and_damaged_files_are_refused(folder: Path, name: str) -> None:
    path = folder / name
    data = path.read_bytes()
    for damaged in (data[:-1], b"", b"x" + data):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=f"^{re.escape(str(path))}: "):
            mmpt_shards.find(folder, "train", CAPTIONS)
    path.unlink()
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: cannot be read: No such file"):
        mmpt_shards.find(folder, "train", CAPTIONS)


@pytest.mark.parametrize(
    "starts", [[0, 8], [0, 8, 14], [1, 8, 13], [0, 14, 13], [], [[0, 8, 13]], [0.0, 8.0, 13.0]]
)
def test_starts_that_do_not_fit_are_refused(folder: Path, starts: Any) -> None:
    np.save(folder / "train_0_starts.npy", np.asarray(starts))
    with pytest.raises(UserError, match="train_0_starts.npy: does not fit train_0_data.npy"):
        mmpt_shards.find(folder, "train", CAPTIONS)


def test_arrays_that_do_not_fit_are_refused(folder: Path) -> None:
    kept = {path: path.read_bytes() for path in folder.iterdir()}

    def refused(problem: str) -> None:
        with pytest.raises(UserError, match=problem):
            mmpt_shards.find(folder, "train", CAPTIONS)
        for path, data in kept.items():
            path.write_bytes(data)

    np.save(folder / "train_0_data.npy", np.ones((13, 512), int))
    refused(r"train_0_data.npy: holds int64 of shape \(13, 512\), expected floats of shape \[rows,")
    np.save(folder / f"{CAPTIONS}.train_0.startends_data.npy", np.ones((3, 3), np.float32))
    refused(r"startends_data.npy: .* expected floats of shape \[rows, 2\]")
    np.save(folder / f"{CAPTIONS}.train_0.caps_ids_data.npy", np.ones(3, int))
    refused(r"caps_ids_data.npy: .* expected integers of shape \[rows, width\]")
    np.save(folder / f"{CAPTIONS}.train_0.startends_starts.npy", np.array([0, 1, 3]))
    refused("startends_data.npy: captions per video differ from .*caps_ids_data.npy")
    np.save(folder / "train_0_starts.npy", np.array([0, 8, 9, 13]))
    refused("train_0_data.npy: has 3 videos, but train_meta.pkl names 2 in shard 0")
    (folder / "train_meta.pkl").write_bytes(pickle.dumps({0: ["a", "b"], 7: ["c"]}))
    refused("train_7_data.npy: cannot be read: No such file")
    assert mmpt_shards.find(folder, "train", CAPTIONS)


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ([["a"]], "is list, expected video ids by shard"),
        ({"0": ["a"]}, "has the key '0', expected numbers of shards"),
        ({0: "ab"}, "shard 0: expected a list of video ids"),
        ({0: ["a", 2]}, "shard 0: expected a list of video ids"),
    ],
)
def test_malformed_lists_of_videos_are_refused(folder: Path, meta: Any, problem: str) -> None:
    path = folder / "train_meta.pkl"
    path.write_bytes(pickle.dumps(meta))
    with pytest.raises(UserError, match=re.escape(f"{path}: {problem}")):
        mmpt_shards.find(folder, "train", CAPTIONS)


def test_damaged_starts_are_refused(folder: Path) -> None:
    path = folder / "train_0_starts.npy"

    def read(_: Path) -> None:
        mmpt_shards.find(folder, "train", CAPTIONS)

    assert mutation.refusals(path.read_bytes(), path, read, 200)
