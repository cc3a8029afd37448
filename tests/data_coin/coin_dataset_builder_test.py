import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.coin.coin_dataset_builder import Builder
from vtmask.datasets.entries import Entry, FeatureLabels, Skipped, TimedTexts, Video
from vtmask.errors import UserError
from vtmask.inputs.dataset import Dataset

NAMES = {1: "jack up the car", 2: "remove the tire", 3: "put on the tire"}


def step(label: int, start: float, end: float) -> dict[str, Any]:
    return {"id": str(label), "segment": [start, end], "label": NAMES[label]}


def record(subset: str, *annotation: dict[str, Any]) -> dict[str, Any]:
    return {
        "subset": subset,
        "class": "ChangeCarTire",
        "recipe_type": 13,
        "duration": 10.25,
        "start": 0.5,
        "end": 9.25,
        "video_url": "https://www.youtube.com/embed/x",
        "annotation": list(annotation),
    }


def write(folder: Path, **database: Any) -> None:
    (folder / "COIN.json").write_text(json.dumps({"database": database}))
    (folder / "features").mkdir(exist_ok=True)
    for name in database:
        np.save(folder / f"features/{name}.npy", np.ones((10, 512), np.float16))


def splits(folder: Path) -> dict[str, list[Entry]]:
    return Builder(data_dir=folder / "data").splits(folder)


def test_records(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=record("training", step(2, 5.2, 6.5), step(1, 0.0, 3.0)),
        b=record("testing", step(1, 1.0, 4.0), step(2, 2.5, 3.5), step(3, 8.0, 30.0)),
        c=record("testing"),
        d=record("testing", step(1, 4.0, 2.0)),
    )
    builder = Builder(data_dir=tmp_path / "data")
    download = tfds.download.DownloadConfig(manual_dir=tmp_path)
    builder.download_and_prepare(download_config=download)
    metadata = json.loads((Path(builder.data_path) / "metadata.json").read_text())
    assert metadata["class_names"] == ["background", *NAMES.values()]

    train = Dataset("coin", "train", str(tmp_path / "data"))[0]
    assert train["video_id"] == "a" and train["task"] == "ChangeCarTire"
    assert train["steps"]["text"] == [NAMES[1], NAMES[2]]
    assert train["steps"]["label"].tolist() == [1, 2]
    assert train["steps"]["end"].tolist() == [3.0, 6.5]
    assert train["labels"].tolist() == [1, 1, 1, 0, 0, 2, 2, 0, 0, 0]
    assert train["captions"]["text"] == train["descriptions"]["text"] == []

    test = Dataset("coin", "test", str(tmp_path / "data"))
    actual = {test[i]["video_id"]: test[i] for i in range(test.num_records)}
    assert actual["b"]["labels"].tolist() == [0, 1, 2, 2, 0, 0, 0, 0, 3, 3]
    for empty in "cd":
        assert actual[empty]["labels"].tolist() == [0] * 10 and actual[empty]["steps"]["text"] == []
    report = json.loads((Path(builder.data_path) / "build_report.json").read_text())
    assert report["test"]["dropped_or_cut"] == {
        "caption cut at the video's end": 1,
        "caption ends before it starts": 1,
    }


def test_classes_come_from_both_subsets(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=record("training", step(3, 0, 1), step(1, 1, 2)),
        b=record("testing", step(2, 0, 1)),
    )
    builder = Builder(data_dir=tmp_path / "data")
    assert list(builder.splits(tmp_path)) == ["train", "test"]
    assert builder.info.metadata["class_names"] == ["background", *NAMES.values()]


def test_an_id_with_two_labels_is_refused(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=record("training", step(1, 0, 1)),
        b=record("testing", step(1, 0, 1) | {"label": "paint"}),
    )
    with pytest.raises(
        UserError, match="COIN.json: step id 1 is both 'jack up the car' and 'paint'"
    ):
        splits(tmp_path)


def test_a_filtered_file_has_only_the_remaining_classes(tmp_path: Path) -> None:
    """Ids have a gap. Classes are in the order of ids, not of the file."""
    write(tmp_path, a=record("training", step(3, 0, 1), step(1, 1, 2)))
    builder = Builder(data_dir=tmp_path / "data")
    [video] = builder.splits(tmp_path)["train"]
    assert builder.info.metadata["class_names"] == ["background", NAMES[1], NAMES[3]]
    assert isinstance(video, Video)
    steps, labels = video.annotations["steps"], video.annotations["labels"]
    assert isinstance(steps, TimedTexts) and isinstance(labels, FeatureLabels)
    assert [line.text for line in steps.lines] == [NAMES[3], NAMES[1]] and steps.labels == [2, 1]
    assert labels.steps == [(0, 1, 2), (1, 2, 1)]


def test_white_space_does_not_change_a_label(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=record("training", step(1, 0, 1), step(1, 2, 3) | {"label": " jack up  the car "}),
    )
    builder = Builder(data_dir=tmp_path / "data")
    builder.splits(tmp_path)
    assert builder.info.metadata["class_names"] == ["background", NAMES[1]]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record("training", step(1, 0, 1) | {"id": "0"}), "annotation 0: field 'id' is '0'"),
        (record("training", step(1, 0, 1) | {"id": "-1"}), "annotation 0: field 'id' is '-1'"),
        (
            record("training", step(1, 0, 1), step(1, 0, 1) | {"id": "x"}),
            "annotation 1: field 'id'",
        ),
        (record("training", step(1, 0, 1) | {"id": 1.5}), "annotation 0: field 'id' is float"),
        (
            record("training", step(1, 0, 1) | {"label": " "}),
            "annotation 0: field 'label' is empty",
        ),
        (
            record("training", step(1, 0, 1) | {"segment": [0]}),
            "annotation 0: field 'segment' has 1",
        ),
        (record("training") | {"class": None}, "field 'class' is NoneType"),
        ({"subset": "training"}, "has no field 'annotation'"),
    ],
)
def test_a_bad_video_is_skipped(tmp_path: Path, bad: dict[str, Any], reason: str) -> None:
    write(tmp_path, bad=bad, good=record("training", step(1, 0, 1)))
    builder = Builder(data_dir=tmp_path / "data")
    skipped, good = builder.splits(tmp_path)["train"]
    assert isinstance(skipped, Skipped) and skipped.reason.startswith(f"COIN.json: {reason}")
    assert good.video_id == "good"
    assert builder.info.metadata["class_names"] == ["background", NAMES[1]]


def test_an_id_may_be_a_number(tmp_path: Path) -> None:
    write(tmp_path, a=record("training", step(1, 0, 1) | {"id": 1}))
    assert not isinstance(splits(tmp_path)["train"][0], Skipped)


def test_another_subset_is_refused(tmp_path: Path) -> None:
    write(tmp_path, a=record("validation"))
    with pytest.raises(
        UserError, match="COIN.json: video a: field 'subset' is 'validation', expected"
    ):
        splits(tmp_path)
