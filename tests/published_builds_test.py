"""Builds of the published annotations, with made-up features, have the right records.

Needs `--reference-dir` with the published annotation files.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.builds import BUILDS, Built, build
from vtmask.evaluation import corpus_queries
from vtmask.inputs.dataset import Dataset

COUNTS = {  # videos and texts of each split
    "msrvtt 1k-a": {"train": (9_000, 180_000), "test": (1_000, 1_000)},
    "msrvtt full": {"train": (7_010, 140_200), "test": (2_990, 59_800)},
    "youcook2": {"train": (1_333, 10_337), "validation": (457, 3_492)},
    "coin": {"train": (8_418, 32_933), "test": (2_597, 10_111)},  # 43,044 steps
    "crosstask": {"train": (540, 4_153), "validation": (359, 2_847), "test": (1_829, 13_697)},
    "didemo": {"validation": (1_065, 4_180), "test": (1_004, 4_021)},
    # Four sentences of train have no duration.
    "activitynet": {"train": (10_009, 37_417), "val_1": (4_917, 17_505), "val_2": (4_885, 17_031)},
    "charades_sta": {"train": (5_338, 12_408), "test": (1_334, 3_720)},
    "qvhighlights": {
        "train": (7_100, 7_218),
        "validation": (1_519, 1_550),
        "test": (1_529, 1_542),
    },
}
CORPUS_MOMENTS = {  # a split, its distinct texts, and their annotated moments
    "didemo": ("test", 3_992, 16_118),
    "activitynet": ("val_2", 16_848, 17_031),
    "charades_sta": ("test", 2_859, 3_720),
    "qvhighlights": ("validation", 1_546, 2_803),
}


@pytest.mark.parametrize("name", BUILDS)
def test_a_build_has_the_published_counts_and_contents(
    name: str, reference_dir: Path, tmp_path: Path
) -> None:
    built = build(BUILDS[name], reference_dir, tmp_path)
    assert built.counts == COUNTS[name]
    # Only CrossTask lists videos that nobody annotated.
    assert all("is missing; not annotated" in reason for reason in built.skipped.values())
    assert name == "crosstask" or not built.skipped
    if name == "coin":
        names = built.builder.info.metadata["class_names"]
        assert len(names) == 779 and names[0] == "background"
    if name == "youcook2":
        compare_youcook2(built, reference_dir / "youcook2")
    if name == "qvhighlights":
        compare_qvhighlights(built, reference_dir / "qvhighlights")
    if name in CORPUS_MOMENTS:
        split, texts, moments = CORPUS_MOMENTS[name]
        queries = corpus_queries.read(dataset(built, split), "moments")
        assert (len(queries.texts), sum(map(len, queries.times))) == (texts, moments)
        times = np.concatenate(queries.times)
        assert (times[:, 0] <= times[:, 1]).all()  # made-up videos may be too short
        assert set(queries.agreement) == {2 if name == "didemo" else 1}


def dataset(built: Built, split: str) -> Dataset:
    folder = built.builder.data_path
    return Dataset(f"{built.builder.name}/published", split, str(folder.parents[2]))


def records(built: Built, split: str) -> dict[str, Any]:
    data = dataset(built, split)
    every = (data[index] for index in range(data.num_records))
    return {record["video_id"]: record for record in every}


def compare_youcook2(built: Built, folder: Path) -> None:
    """Compares every record with the JSON file, read directly."""
    database = json.loads((folder / "youcookii_annotations_trainval.json").read_text())["database"]
    for split, subset in {"train": "training", "validation": "validation"}.items():
        actual = records(built, split)
        assert actual.keys() == {v for v, r in database.items() if r["subset"] == subset}
        for video_id, record in actual.items():
            source = database[video_id]
            assert record["recipe"] == source["recipe_type"]
            clips = sorted(source["annotations"], key=lambda clip: clip["segment"])
            assert record["clips"]["text"] == [" ".join(c["sentence"].split()) for c in clips]
            times = np.stack([record["clips"]["start"], record["clips"]["end"]], axis=1)
            np.testing.assert_array_equal(times, [clip["segment"] for clip in clips])


def compare_qvhighlights(built: Built, folder: Path) -> None:
    """Compares every query with its line of the file."""
    for split, name in {
        "train": "highlight_train_release",
        "validation": "highlight_val_release",
        "test": "highlight_test_with_gt",
    }.items():
        lines = map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines())
        sources = {line["qid"]: line for line in lines}
        for video_id, record in records(built, split).items():
            moments = record["moments"]
            ends = np.cumsum(moments["num_windows"])
            for qid, text, windows in zip(
                moments["qid"].tolist(),
                moments["text"],
                np.split(moments["windows"], ends[:-1]),
                strict=True,
            ):
                source = sources.pop(qid)
                assert (source["vid"], source["query"].split()) == (video_id, text.split())
                assert windows.tolist() == source["relevant_windows"]
            assert len(record["clips"]["text"]) == ends[-1]
        assert not sources
