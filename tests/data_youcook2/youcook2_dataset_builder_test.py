import json
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.youcook2.youcook2_dataset_builder import Builder
from vtmask.datasets.entries import Entry, Skipped, TimedTexts, Video
from vtmask.errors import UserError
from vtmask.files.subtitles import Caption
from vtmask.inputs.dataset import Dataset

FILE = "youcookii_annotations_trainval.json"


def annotation(place: int, start: float, end: float, sentence: str) -> dict[str, Any]:
    return {"id": place, "segment": [start, end], "sentence": sentence}


CUT = annotation(0, 2, 5, "cut the onions")
FRY = annotation(1, 7.5, 9, "fry them in the pan")
SERVE = annotation(2, 14, 30, "serve it on a plate")


def record(subset: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "subset": subset,
        "recipe_type": "226",
        "duration": 20.25,
        "video_url": "https://www.youtube.com/watch?v=x",
        "annotations": list(annotations),
    }


def write(folder: Path, database: dict[str, Any]) -> None:
    (folder / FILE).write_text(json.dumps({"database": database}))


def write_lists(folder: Path, train: str, validation: str) -> None:
    (folder / "splits").mkdir()
    (folder / "splits/train_list.txt").write_text(train)
    (folder / "splits/val_list.txt").write_text(validation)


def write_pickles(folder: Path, train: Any, validation: Any) -> None:
    for name, clips in {"train": train, "val": validation}.items():
        (folder / f"youcook_{name}.pkl").write_bytes(pickle.dumps(clips))


def clip(name: str, caption: str) -> dict[str, Any]:
    return {"id": name, "caption": caption, "2d": np.ones(4, np.float32), "3d": np.ones(4)}


def splits(folder: Path, config: str = "default") -> dict[str, dict[str, Entry]]:
    actual = Builder(config=config, data_dir=folder / "data").splits(folder)
    assert list(actual) == ["train", "validation"]
    return {split: {e.video_id: e for e in entries} for split, entries in actual.items()}


def texts(entry: Entry) -> list[Caption]:
    assert isinstance(entry, Video), entry
    clips = entry.annotations["clips"]
    assert isinstance(clips, TimedTexts)
    return list(clips.lines)


def reasons(entries: dict[str, Entry]) -> dict[str, str]:
    return {name: e.reason for name, e in entries.items() if isinstance(e, Skipped)}


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """Makes a manual folder with three videos, whose ids have YouTube's special characters."""
    database = {
        "-a_b_1": record("training", CUT, FRY),
        "b": record("training", CUT, FRY, SERVE),
        "c": record("validation", FRY, SERVE, annotation(2, 9, 3, "backwards")),
    }
    write(tmp_path, database)
    (tmp_path / "features").mkdir()
    for name in database:
        np.save(tmp_path / f"features/{name}.npy", np.ones((20, 512), np.float16))
    return tmp_path


def build(folder: Path, config: str) -> Path:
    builder = Builder(config=config, data_dir=folder / "data")
    download = tfds.download.DownloadConfig(manual_dir=folder)
    builder.download_and_prepare(download_config=download)
    return Path(builder.data_path)


def read(folder: Path, config: str, split: str) -> dict[str, Any]:
    dataset = Dataset(f"youcook2/{config}", split, str(folder / "data"))
    every: Iterable[dict[str, Any]] = (dataset[i] for i in range(dataset.num_records))
    return {record["video_id"]: record for record in every}


def test_records(manual: Path) -> None:
    report = json.loads((build(manual, "default") / "build_report.json").read_text())
    assert set(read(manual, "default", "train")) == {"-a_b_1", "b"}
    actual = read(manual, "default", "validation")["c"]
    assert actual["recipe"] == "226"
    assert actual["features"].shape == (20, 512)
    assert actual["descriptions"]["text"] == actual["captions"]["text"] == []
    assert actual["clips"]["text"] == ["fry them in the pan", "serve it on a plate"]
    assert actual["clips"]["start"].tolist() == [7.5, 14]
    assert actual["clips"]["end"].tolist() == [9, 20]
    assert report["validation"]["dropped_or_cut"] == {
        "caption cut at the video's end": 1,
        "caption ends before it starts": 1,
    }


def test_split_lists_override_the_annotated_subsets(manual: Path) -> None:
    write_lists(manual, "101/c\n\n226/gone\n", "113/b")
    actual = splits(manual)
    assert reasons(actual["train"]) == {
        "-a_b_1": "annotated, but in no list of a split",
        "gone": f"{FILE}: has no such video",
    }
    assert len(texts(actual["train"]["c"])) == 3
    assert list(actual["validation"]) == ["b"]


@pytest.mark.parametrize("line", ["b", "/b", "226/", "226/b/c"])
def test_a_bad_line_of_a_split_list_is_refused(manual: Path, line: str) -> None:
    write_lists(manual, "101/c", f"101/b\n{line}\n")
    with pytest.raises(UserError, match="val_list.txt: has the line '.*', expected RECIPE/VIDEO"):
        splits(manual)


def test_a_missing_split_list_is_reported(manual: Path) -> None:
    write_lists(manual, "101/c", "")
    (manual / "splits/val_list.txt").unlink()
    with pytest.raises(UserError, match="val_list.txt: cannot be read"):
        splits(manual)


def test_pickles_select_the_clips(manual: Path) -> None:
    train = [clip("b_2", "serve plate"), clip("-a_b_1_0", "cut onions"), clip("b_0", "cut onions")]
    write_pickles(manual, train, [clip("gone_0", "gone"), clip("c_0", "fry pan")])
    actual = splits(manual, "howto100m-pickles")
    assert texts(actual["train"]["b"]) == [
        (14, 30, "serve it on a plate"),
        (2, 5, "cut the onions"),
    ]
    assert texts(actual["train"]["-a_b_1"]) == [(2, 5, "cut the onions")]
    assert reasons(actual["train"]) == {}
    assert reasons(actual["validation"]) == {"gone": f"{FILE}: has no such video"}


def test_captions_may_come_from_the_pickles(manual: Path) -> None:
    write_pickles(manual, [clip("b_2", "serve plate"), clip("b_0", "cut")], [clip("c_0", "fry")])
    build(manual, "howto100m-pickles-captions")
    actual = read(manual, "howto100m-pickles-captions", "train")
    assert list(actual) == ["b"]
    assert actual["b"]["clips"]["text"] == ["cut", "serve plate"]
    assert actual["b"]["clips"]["start"].tolist() == [2, 14]


def test_videos_that_do_not_fit_the_pickles_are_skipped(manual: Path) -> None:
    write_pickles(manual, [clip("b_3", "")], [clip("c_0", "")])
    assert reasons(splits(manual, "howto100m-pickles")["train"]) == {
        "-a_b_1": "annotated, but in no pickle",
        "b": f"{FILE}: has annotations 0 to 2, but the pickle 3",
    }


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ({}, "youcook_val.pkl: is dict, expected a list"),
        ([3], "clip 0: is int"),
        ([clip("b_0", ""), {"caption": "no id"}], "clip 1: has no field 'id'"),
        ([{"id": "b_0"}], "clip 0: has no field 'caption'"),
        ([clip("b", "")], "clip 0: field 'id' is 'b', expected VIDEO_INDEX"),
        ([clip("_0", "")], "clip 0: field 'id' is '_0', expected VIDEO_INDEX"),
        ([clip("b_-1", "")], "clip 0: field 'id' is 'b_-1', expected VIDEO_INDEX"),
    ],
)
def test_bad_pickles_are_refused(manual: Path, clips: Any, message: str) -> None:
    write_pickles(manual, [clip("b_0", "")], clips)
    with pytest.raises(UserError, match=message):
        splits(manual, "howto100m-pickles")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record("training"), "has no annotation of this video"),
        (record("training", CUT, {**FRY, "segment": [1]}), "annotation 1: field 'segment' has 1"),
        (record("training", {**FRY, "segment": [1, "2"]}), "annotation 0: field 'segment' is str"),
        (record("training", {"segment": [1, 2]}), "annotation 0: has no field 'sentence'"),
        ({"subset": "training", "recipe_type": "1"}, "has no field 'annotations'"),
        ({"subset": "training", "annotations": [CUT]}, "has no field 'recipe_type'"),
    ],
)
def test_a_bad_video_is_skipped(tmp_path: Path, bad: dict[str, Any], reason: str) -> None:
    write(tmp_path, {"bad": bad, "good": record("training", CUT)})
    actual = splits(tmp_path)["train"]
    assert reasons(actual)["bad"].startswith(f"{FILE}: {reason}")
    assert texts(actual["good"]) == [(2, 5, "cut the onions")]


def test_another_subset_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"x": record("testing", CUT)})
    with pytest.raises(UserError, match=f"{FILE}: video x: field 'subset' is 'testing', expected"):
        splits(tmp_path)
