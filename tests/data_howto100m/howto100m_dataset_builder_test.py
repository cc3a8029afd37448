import json
import pickle
import re
from pathlib import Path
from typing import Any

import mmpt_writer
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.howto100m.howto100m_dataset_builder import Builder
from vtmask.datasets.entries import Entry, Skipped, Video
from vtmask.errors import UserError
from vtmask.files.subtitles import Caption
from vtmask.inputs.dataset import Dataset

ROLLING = {
    "start": [0.0, 1.5, 4, 6],
    "end": [3, 4.5, 5, 7],
    "text": ["take the", "take the onion", float("nan"), "cut it\n"],
}
PLAIN = {"start": [1, 5], "end": [4.5, 7], "text": ["now we fry it", "and serve"]}


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """Makes a manual folder with four usable videos, one without captions and one in no list."""
    captions = {"-z_1": ROLLING, "v": PLAIN, "unlisted": PLAIN, "b": PLAIN, "a": PLAIN}
    (tmp_path / "raw_caption.json").write_text(json.dumps(captions))
    (tmp_path / "how2_s3d_train.lst").write_text("a\nb\n-z_1\n\ngone\n")
    (tmp_path / "how2_s3d_val.lst").write_text("v\n")
    (tmp_path / "features").mkdir()
    for name in captions:
        np.save(tmp_path / f"features/{name}.npy", np.ones((8, 512), np.float16))
    return tmp_path


def splits(folder: Path, config: str = "default") -> dict[str, list[Entry]]:
    actual = Builder(config=config, data_dir=folder / "data").splits(folder)
    assert list(actual) == ["train", "validation"]
    return {split: list(entries) for split, entries in actual.items()}


def lines(entry: Entry) -> list[Caption]:
    assert isinstance(entry, Video), entry
    return list(entry.captions.lines)


def reasons(entries: list[Entry]) -> dict[str, str]:
    return {e.video_id: e.reason for e in entries if isinstance(e, Skipped)}


def build(folder: Path, config: str, split: str) -> dict[str, Any]:
    builder = Builder(config=config, data_dir=folder / "data")
    download = tfds.download.DownloadConfig(manual_dir=folder)
    builder.download_and_prepare(download_config=download)
    dataset = Dataset(f"howto100m/{config}", split, str(folder / "data"))
    examples = (dataset[i] for i in range(dataset.num_records))
    return {record["video_id"]: record for record in examples}


def report(folder: Path, config: str) -> Any:
    return json.loads((folder / f"data/howto100m/{config}/1.0.0/build_report.json").read_text())


def test_records(manual: Path) -> None:
    actual = build(manual, "default", "train")
    assert set(actual) == {"a", "b", "-z_1"}
    record = actual["-z_1"]
    assert record["features"].shape == (8, 512)
    assert record["captions"]["text"] == ["take the onion", "cut it"]
    assert record["captions"]["start"].tolist() == [0, 6]
    assert record["captions"]["end"].tolist() == [4.5, 7]
    counts = report(manual, "default")["train"]
    assert counts["dropped_or_cut"] == {"empty caption": 1}
    assert counts["skipped"] == [
        {"video_id": "gone", "reason": "raw_caption.json: has no such video"}
    ]


def test_videos_come_in_the_order_of_the_captions(manual: Path) -> None:
    actual = splits(manual)
    assert [entry.video_id for entry in actual["train"]] == ["-z_1", "b", "a", "gone"]
    assert [entry.video_id for entry in actual["validation"]] == ["v"]
    assert lines(actual["validation"][0]) == [Caption(1, 4.5, "now we fry it"), (5, 7, "and serve")]


@pytest.mark.parametrize(
    ("captions", "problem"),
    [
        (None, "raw_caption.json: is NoneType, expected an object"),
        (PLAIN | {"text": ["one"]}, "raw_caption.json: has 2 of 'start', 2 of 'end', 1 of 'text'"),
        (PLAIN | {"start": ["x", "y"]}, "raw_caption.json: caption 0: field 'start' is str"),
        ({"start": [], "end": [], "text": []}, "raw_caption.json: has no captions of this video"),
        (PLAIN | {"text": [None, " "]}, "raw_caption.json: has no captions of this video"),
    ],
)
def test_an_unusable_video_is_skipped(manual: Path, captions: Any, problem: str) -> None:
    (manual / "raw_caption.json").write_text(json.dumps({"a": captions, "b": PLAIN}))
    train = splits(manual)["train"]
    assert reasons(train)["a"].startswith(problem)
    assert lines(train[1])


@pytest.mark.parametrize("broken", [{"start": [1, "x"]}, {"end": [4.5, float("nan")]}])
def test_a_broken_caption_drops_no_other(manual: Path, broken: dict[str, Any]) -> None:
    (manual / "raw_caption.json").write_text(json.dumps({"a": PLAIN | broken, "v": PLAIN}))
    assert lines(splits(manual)["train"][0]) == [Caption(1, 4.5, "now we fry it")]
    build(manual, "default", "train")
    counts = report(manual, "default")["train"]["dropped_or_cut"]
    assert counts == {"caption with unreadable times or text, dropped": 1}


def test_a_duplicate_video_is_kept_once(manual: Path) -> None:
    twice = f'{{"a": {json.dumps(PLAIN)}, "v": {json.dumps(PLAIN)}, "a": null}}'
    (manual / "raw_caption.json").write_text(twice)
    assert set(build(manual, "default", "train")) == {"a"}
    assert report(manual, "default")["train"]["reasons"][
        "duplicate video id; the first one is kept"
    ]


def test_bad_files_end_the_build(manual: Path) -> None:
    path = manual / "raw_caption.json"
    path.write_text(path.read_text()[:-1])
    with pytest.raises(UserError, match=r"raw_caption.json: character \d+: is the end of the file"):
        splits(manual)
    path.unlink()
    with pytest.raises(UserError, match="raw_caption.json: cannot be read: No such file"):
        splits(manual)
    (manual / "how2_s3d_val.lst").write_text("v\nb\n")
    with pytest.raises(UserError, match=r"how2_s3d_val.lst: video b is in how2_s3d_train.lst, too"):
        splits(manual)
    (manual / "how2_s3d_val.lst").unlink()
    with pytest.raises(UserError, match="how2_s3d_val.lst: cannot be read: No such file"):
        splits(manual)


def write_pickle(folder: Path, name: str, captions: Any) -> None:
    (folder / name).write_bytes(pickle.dumps(captions))


def test_pickles_are_read(manual: Path) -> None:
    captions = {"a": json.dumps(ROLLING), "b": PLAIN, "v": json.dumps(PLAIN), "gone": "{not JSON"}
    for config, name in {
        "pickle": "raw_caption.pkl",
        "deduplicated": "raw_caption_dedup.pkl",
    }.items():
        write_pickle(manual, name, captions)
        train = splits(manual, config)["train"]
        assert [line.text for line in lines(train[0])] == [
            "take the",
            "take the onion",
            "",
            "cut it",
        ]
        assert lines(train[1]) == lines(splits(manual, config)["validation"][0])
        assert reasons(train) == {
            "-z_1": f"{name}: has no such video",
            "gone": f"{name}: captions are text, but not JSON",
        }


def test_deduplicated_captions_stay_unchanged(manual: Path) -> None:
    write_pickle(manual, "raw_caption_dedup.pkl", {"a": json.dumps(ROLLING), "v": PLAIN})
    record = build(manual, "deduplicated", "train")["a"]
    assert record["captions"]["text"] == ["take the", "take the onion", "cut it"]


def test_other_caption_files_are_refused(manual: Path) -> None:
    write_pickle(manual, "raw_caption.pkl", [PLAIN])
    with pytest.raises(UserError, match="raw_caption.pkl: is list, expected captions by video id"):
        splits(manual, "pickle")
    config = Builder.builder_config_cls(name="mine", captions="captions.csv")
    with pytest.raises(UserError, match="captions.csv: suffix is '.csv', expected .json or .pkl"):
        Builder(config=config, data_dir=manual / "data").splits(manual)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Makes a manual folder with shards of four videos, one of which is in no list."""
    unlisted = {"unlisted": mmpt_writer.VIDEOS["b"]}
    mmpt_writer.write(tmp_path, "train", 0, mmpt_writer.VIDEOS | unlisted)
    mmpt_writer.write(tmp_path, "val", 0, {"v": mmpt_writer.VIDEOS["b"]})
    (tmp_path / "how2_s3d_train.lst").write_text("b\ngone\na\n")
    (tmp_path / "how2_s3d_val.lst").write_text("v\n")
    (tmp_path / "vocab.txt").write_bytes(mmpt_writer.VOCABULARY.content)
    return tmp_path


def test_records_of_shards(shards: Path) -> None:
    actual = build(shards, "shards", "train")
    assert set(actual) == {"a", "b"}
    features, _ = mmpt_writer.VIDEOS["a"]
    np.testing.assert_array_equal(actual["a"]["features"], features)
    captions = actual["a"]["captions"]
    assert captions["start"].tolist() == [0.5, 2] and captions["end"].tolist() == [2.25, 8]
    assert captions["tokens"].tolist() == [5, 6, 7, 8] and captions["num_tokens"].tolist() == [3, 1]
    assert captions["text"] == ["w0 w1 w2", "w3"]
    counts = report(shards, "shards")
    assert counts["train"]["skipped"] == [
        {"video_id": "gone", "reason": "train_meta.pkl: has no such video"}
    ]
    assert counts["validation"]["videos"] == 1


def test_shards_need_their_vocabulary(shards: Path) -> None:
    (shards / "vocab.txt").rename(shards / "other.txt")
    with pytest.raises(UserError, match=re.escape(f"{shards / 'vocab.txt'}: no such file; shards")):
        splits(shards, "shards")
    given = Builder(config="shards", data_dir=shards / "data", tokenizer=str(shards / "other.txt"))
    assert len(list(given.splits(shards)["train"])) == 3


def test_shards_are_checked_before_the_build(shards: Path) -> None:
    (shards / "val_0_data.npy").unlink()
    builder = Builder(config="shards", data_dir=shards / "data")
    with pytest.raises(UserError, match=r"val_0_data.npy: cannot be read: No such file"):
        builder.splits(shards)
