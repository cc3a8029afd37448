import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.didemo.didemo_dataset_builder import Builder
from vtmask.datasets.entries import Entry, FeatureFile, Skipped, Texts, Video
from vtmask.errors import UserError
from vtmask.inputs.dataset import Dataset


def item(video: str, annotation_id: int, description: str, times: Any, **other: Any) -> dict:
    fields = {"video": video, "annotation_id": annotation_id, "description": description}
    return fields | {"times": times, "num_segments": 6, "dl_link": "https://…"} | other


ITEMS = [
    item("1@N0_2_ab.mov", 7, "a dog runs", [[0, 0], [0, 1], [0, 0], [1, 1]]),
    item("3@N1_4_cd.", 8, "the sun sets", [[5, 5], [4, 5]]),
    item("1@N0_2_ab.mp4", 9, "the dog sits", [[3, 3]]),
]


def write(manual: Path, items: Any, name: str = "test_data.json") -> None:
    (manual / "features").mkdir(parents=True, exist_ok=True)
    (manual / name).write_text(json.dumps(items))


def entries(manual: Path, split: str = "test") -> dict[str, Entry]:
    actual = Builder(data_dir=manual.parent / "data").splits(manual)[split]
    return {entry.video_id: entry for entry in actual}


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    folder = tmp_path / "manual"
    write(folder, ITEMS)
    return folder


def test_records(manual: Path) -> None:
    names = ("train", "val", "test")
    for name in names:
        write(manual, ITEMS, f"{name}_data.json")
    np.save(manual / "features/1@N0_2_ab.npy", np.ones((27, 512), np.float32))
    np.save(manual / "features/3@N1_4_cd..npy", np.zeros((30, 512), np.float16))
    data_dir = manual.parent / "data"
    builder = Builder(data_dir=data_dir)
    (manual / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog"])
    )
    download = tfds.download.DownloadConfig(manual_dir=manual)
    builder.download_and_prepare(download_config=download)
    assert sorted(builder.info.splits) == ["test", "train", "validation"]

    dataset = Dataset("didemo/default", "test", str(data_dir))
    records = {r["video_id"]: r for r in (dataset[i] for i in range(dataset.num_records))}
    assert sorted(records) == ["1@N0_2_ab", "3@N1_4_cd"]
    record = records["1@N0_2_ab"]
    assert record["features"].shape == (27, 512)
    assert record["descriptions"]["text"] == ["a dog runs", "the dog sits"]
    moments = record["moments"]
    assert moments["text"] == ["a dog runs", "the dog sits"]
    assert moments["num_tokens"].sum() == len(moments["tokens"])
    assert moments["annotation_id"].tolist() == [7, 9]
    assert moments["num_times"].tolist() == [4, 1]
    assert moments["times"].tolist() == [[0, 0], [0, 1], [0, 0], [1, 1], [3, 3]]
    assert moments["num_segments"].tolist() == [6, 6]
    assert records["3@N1_4_cd"]["moments"]["times"].tolist() == [[5, 5], [4, 5]]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["ab.mov.npy", "ab.npy"], "ab.mov.npy"),
        (["ab.mp4.npy", "ab.npy"], "ab.mp4.npy"),
        (["ab.npy"], "ab.npy"),
        ([], "ab.npy"),
    ],
)
def test_features_are_named_with_or_without_the_suffix(
    manual: Path, files: list[str], expected: str
) -> None:
    for name in files:
        (manual / f"features/1@N0_2_{name}").touch()
    video = entries(manual)["1@N0_2_ab"]
    assert isinstance(video, Video)
    assert video.features == FeatureFile(manual / f"features/1@N0_2_{expected}")


def test_only_splits_with_a_file_are_built(manual: Path) -> None:
    builder = Builder(data_dir=manual.parent / "data")
    assert list(builder.splits(manual)) == ["test"]
    write(manual, ITEMS, "train_data.json")
    assert list(builder.splits(manual)) == ["train", "test"]
    (manual / "train_data.json").unlink()
    (manual / "test_data.json").unlink()
    with pytest.raises(UserError, match="has none of train_data.json, val_data.json, test_data"):
        builder.splits(manual)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"times": [[3, 2]]},
            "a time is [3, 2], expected [first, last] with 0 <= first <= last < 6",
        ),
        ({"times": [[5, 6]]}, "a time is [5, 6]"),
        ({"times": [[5, 5]], "num_segments": 5}, "a time is [5, 5], expected [first, last] with"),
        ({"times": [[-1, 0]]}, "a time is [-1, 0]"),
        ({"times": [[0, 1, 2]]}, "a time is [0, 1, 2]"),
        ({"times": [[0, True]]}, "a time is [0, True]"),
        ({"times": [0, 1]}, "a time is 0"),
        ({"times": []}, "times are empty"),
        ({"times": None}, "field 'times' is NoneType, expected list"),
        ({"description": " "}, "description is empty"),
        ({"description": None}, "field 'description' is NoneType, expected str"),
        ({"num_segments": 7}, "num_segments is 7, expected 1 to 6"),
        ({"num_segments": "6"}, "field 'num_segments' is str, expected int"),
        ({"annotation_id": 9}, "annotation_id 9 occurs twice"),
    ],
)
def test_a_bad_annotation_skips_its_video(
    manual: Path, change: dict[str, Any], reason: str
) -> None:
    write(manual, [ITEMS[0] | change, *ITEMS[1:]])
    actual = entries(manual)
    assert isinstance(actual["3@N1_4_cd"], Video)
    skipped = actual["1@N0_2_ab"]
    assert isinstance(skipped, Skipped)
    assert reason in skipped.reason and "test_data.json" in skipped.reason
    assert f"annotation_id {change.get('annotation_id', 7)}" in skipped.reason


def test_each_sentence_has_its_own_number_of_segments(manual: Path) -> None:
    write(manual, [ITEMS[0] | {"num_segments": 5}, *ITEMS[1:]])
    video = entries(manual)["1@N0_2_ab"]
    assert isinstance(video, Video)
    moments = video.annotations["moments"]
    assert isinstance(moments, Texts) and moments.lines == ["a dog runs", "the dog sits"]
    assert moments.extra["num_segments"].tolist() == [5, 6]


@pytest.mark.parametrize("value", [-1, 2**31, 1.5, None])
def test_a_bad_annotation_id_skips_its_video(manual: Path, value: Any) -> None:
    write(manual, [*ITEMS[:2], ITEMS[2] | {"annotation_id": value}])
    skipped = entries(manual)["1@N0_2_ab"]
    assert isinstance(skipped, Skipped)
    assert re.search("test_data.json: entry 2: .*annotation_id", skipped.reason)


@pytest.mark.parametrize("name", ["description", "times", "num_segments", "annotation_id"])
def test_a_missing_field_skips_its_video(manual: Path, name: str) -> None:
    write(manual, [{k: v for k, v in ITEMS[0].items() if k != name}, ITEMS[1]])
    skipped = entries(manual)["1@N0_2_ab"]
    assert isinstance(skipped, Skipped)
    assert f"has no field {name!r}" in skipped.reason and "entry 0" in skipped.reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "is dict, expected a list of annotations"),
        ('[{"description": "x"}]', "entry 0: has no field 'video'"),
        ("[3]", "entry 0: is int, expected an object"),
        ("[{]", "line 1 column 3: not JSON"),
    ],
)
def test_malformed_files_are_refused(manual: Path, content: str, message: str) -> None:
    (manual / "test_data.json").write_text(content)
    with pytest.raises(UserError, match=message):
        entries(manual)


def test_the_published_test_split(reference_dir: Path, tmp_path: Path) -> None:
    actual = Builder(data_dir=tmp_path).splits(reference_dir / "didemo")["test"]
    videos = [entry for entry in actual if isinstance(entry, Video)]
    fields = [video.annotations["moments"] for video in videos]
    moments = [field for field in fields if isinstance(field, Texts)]
    assert len(videos) == len(moments) == 1004
    assert sum(len(field.lines) for field in moments) == 4021
    assert sum(len(field.extra["times"]) for field in moments) == 16118
    assert {number for f in moments for number in f.extra["num_segments"].tolist()} == {5, 6}
    assert all((field.extra["num_times"] >= 4).all() for field in moments)
