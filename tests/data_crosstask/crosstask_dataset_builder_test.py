import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import example, given
from hypothesis import strategies as st

from data.crosstask.crosstask_dataset_builder import Builder, Listed, Task, draw_test, read_tasks
from vtmask.datasets.entries import Entry, Skipped
from vtmask.errors import UserError
from vtmask.inputs.dataset import Dataset

PRIMARY = (
    "23521\nMake Jello Shots\nhttps://www.wikihow.com/a\n3\npour water,stir mixture,pour jello\n\n"
)
RELATED = "105222\nJack Up a Car\nhttps://www.wikihow.com/b\n3\nbrake on,jack up,brake off\n\n"
ANNOTATION = "1,4.0,6.5\n3,9.5,30\n1,7,8\n"


def write(
    folder: Path,
    videos: Sequence[str],
    validation: Sequence[str] = (),
    annotations: dict[str, str] | None = None,
) -> None:
    """Writes the release. Videos are named TASK_VIDEO; by default, all have annotations."""
    release = folder / "crosstask_release"
    (release / "annotations").mkdir(parents=True)
    (release / "tasks_primary.txt").write_text(PRIMARY)
    (release / "tasks_related.txt").write_text(RELATED)
    for file, names in {"videos.csv": videos, "videos_val.csv": validation}.items():
        rows = (",".join([*name.split("_", 1), "https://www.youtube.com/watch"]) for name in names)
        (release / file).write_text("".join(f"{row}\n" for row in rows))
    if annotations is None:
        annotations = dict.fromkeys([*videos, *validation], ANNOTATION)
    for name, text in annotations.items():
        (release / f"annotations/{name}.csv").write_text(text)


def splits(folder: Path) -> dict[str, dict[str, Entry]]:
    actual = Builder(data_dir=folder / "data").splits(folder)
    assert list(actual) == ["train", "validation", "test"]
    return {split: {e.video_id: e for e in entries} for split, entries in actual.items()}


def reasons(entries: dict[str, Entry]) -> dict[str, str]:
    return {name: e.reason for name, e in entries.items() if isinstance(e, Skipped)}


def test_records(tmp_path: Path) -> None:
    videos = [f"23521_{i}" for i in range(31)] + ["105222_a_b", "23521_a_b"]
    write(tmp_path, videos[:-1], videos[-1:])
    (tmp_path / "features").mkdir()
    for video in {name.split("_", 1)[1] for name in videos}:
        np.save(tmp_path / f"features/{video}.npy", np.ones((10, 512), np.float16))
    builder = Builder(data_dir=tmp_path / "data")
    download = tfds.download.DownloadConfig(manual_dir=tmp_path)
    builder.download_and_prepare(download_config=download)

    sizes = {"train": 31, "validation": 1, "test": 1}
    for split, size in sizes.items():
        assert Dataset("crosstask", split, str(tmp_path / "data")).num_records == size
    actual = Dataset("crosstask", "validation", str(tmp_path / "data"))[0]
    assert actual["video_id"] == "23521_a_b"
    assert actual["task"] == "23521" and actual["title"] == "Make Jello Shots"
    assert actual["step_texts"]["text"] == ["pour water", "stir mixture", "pour jello"]
    assert actual["steps"]["text"] == ["pour water", "pour water", "pour jello"]
    assert actual["steps"]["label"].tolist() == [1, 1, 3]
    assert actual["steps"]["start"].tolist() == [4, 7, 9.5]
    assert actual["steps"]["end"].tolist() == [6.5, 8, 10]
    train = Dataset("crosstask", "train", str(tmp_path / "data"))
    names = {train[i]["video_id"] for i in range(train.num_records)}
    assert "105222_a_b" in names


def published_split(task_vids: dict[str, list[str]], primary: set[str]) -> dict[str, set[str]]:
    """Draws each task's training videos from the global generator, as published."""
    np.random.seed(0)
    return {
        task: set(np.random.choice(vids, 30, replace=False))
        if task in primary and len(vids) > 30
        else set(vids)
        for task, vids in task_vids.items()
    }


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 45)), max_size=8),
    st.sets(st.sampled_from("abc")),
    st.booleans(),
)
@example([("a", 30), ("b", 40)], {"a", "b"}, False)
@example([("b", 20), ("a", 40), ("b", 20)], {"a", "b"}, True)
def test_the_split_is_the_published_one(
    runs: list[tuple[str, int]], primary: set[str], doubled: bool
) -> None:
    task_vids: dict[str, list[str]] = {}
    listed = []
    for run, (task, count) in enumerate(runs):
        names = [f"{'same' if doubled else run}-{i}" for i in range(count)]
        task_vids.setdefault(task, []).extend(names)
        listed += [Listed(task, name) for name in names]
    train = published_split(task_vids, primary)
    expected = [(task, v) for task, vids in task_vids.items() for v in vids if v not in train[task]]
    assert draw_test(listed, primary) == expected


def test_splits(tmp_path: Path) -> None:
    """Validation videos, unknown tasks and videos without annotations are not drawn."""
    jello = [f"23521_j{i}" for i in range(40)]
    videos = ["105222_r", "7_unknown", *jello[:20], "23521_absent", *jello[20:]]
    annotated = dict.fromkeys(["105222_r", *jello, "7_unknown"], ANNOTATION)
    write(tmp_path, videos, [jello[3], "23521_absent too"], annotated)
    actual = splits(tmp_path)
    drawn = [name.removeprefix("23521_") for name in jello if name != jello[3]]
    np.random.seed(0)
    train = {f"23521_{name}" for name in np.random.choice(drawn, 30, replace=False)}
    assert set(actual["train"]) == train | {"105222_r", "7_unknown", "23521_absent"}
    assert set(actual["test"]) == set(jello) - train - {jello[3]}
    assert set(actual["validation"]) == {jello[3], "23521_absent too"}
    skipped = reasons(actual["train"])
    assert set(skipped) == {"7_unknown", "23521_absent"}
    assert skipped["7_unknown"] == "task 7 is neither primary nor related"
    assert skipped["23521_absent"].endswith("23521_absent.csv: is missing; not annotated")
    assert set(reasons(actual["validation"])) == {"23521_absent too"}


def test_the_split_does_not_depend_on_features(tmp_path: Path) -> None:
    videos = [f"23521_{i}" for i in range(33)]
    write(tmp_path, videos)
    before = splits(tmp_path)["test"]
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features/0.npy", np.ones((10, 512), np.float16))
    assert list(splits(tmp_path)["test"]) == list(before)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1,4,5\n4,5,6\n", "line 2: step is 4, expected 1 to 3"),
        ("0,4,5\n", "line 1: step is 0, expected 1 to 3"),
        ("1,4,later\n", "line 1: is '1,4,later', expected numbers: step, start and end"),
        ("1.5,4,5\n", "line 1: is '1.5,4,5', expected numbers"),
        ("1,4\n", "the first row has 2 fields, expected 3"),
        ("1,4,5\n1,4\n", "line 2: has 2 fields, expected 3"),
    ],
)
def test_a_bad_annotation_file_is_skipped(tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path, ["23521_x", "23521_y"], annotations={"23521_x": text, "23521_y": ANNOTATION})
    skipped = reasons(splits(tmp_path)["train"])
    assert list(skipped) == ["23521_x"]
    assert f"23521_x.csv: {reason}" in skipped["23521_x"]


def test_bad_times_are_dropped_and_a_video_may_have_no_steps(tmp_path: Path) -> None:
    """A step that ends before it starts is dropped and counted. A video may have no steps."""
    names = ["105222_t", "23521_x", "23521_v"]
    write(tmp_path, [f"23521_{i}" for i in range(31)], names)
    annotations = tmp_path / "crosstask_release/annotations"
    (annotations / "105222_t.csv").write_text("2,5,4\n1,nan,3\n1,2,3\n")
    (annotations / "23521_x.csv").write_text("")
    (tmp_path / "features").mkdir()
    for video in [*"txv", *map(str, range(31))]:
        np.save(tmp_path / f"features/{video}.npy", np.ones((10, 512), np.float16))
    builder = Builder(data_dir=tmp_path / "data")
    download = tfds.download.DownloadConfig(manual_dir=tmp_path)
    builder.download_and_prepare(download_config=download)
    report = json.loads((Path(builder.data_path) / "build_report.json").read_text())["validation"]
    assert report["videos"] == 3
    assert report["dropped_or_cut"]["caption ends before it starts"] == 1
    assert report["dropped_or_cut"]["caption without finite times"] == 1
    dataset = Dataset("crosstask", "validation", str(tmp_path / "data"))
    actual = {dataset[i]["video_id"]: dataset[i]["steps"]["label"].tolist() for i in range(3)}
    assert actual == {"105222_t": [1], "23521_x": [], "23521_v": [1, 1, 3]}


def test_tasks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "tasks.txt"
    path.write_text(PRIMARY + "\n" + RELATED.strip().replace("https://www.wikihow.com/b", ""))
    assert read_tasks(path) == {
        "23521": Task("Make Jello Shots", ("pour water", "stir mixture", "pour jello")),
        "105222": Task("Jack Up a Car", ("brake on", "jack up", "brake off")),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            PRIMARY.replace("\n3\n", "\n4\n"),
            "line 4: says '4' steps, but line 5 lists",
        ),
        (PRIMARY.replace("\n3\n", "\nthree\n"), "line 4: says 'three' steps"),
        (PRIMARY.replace("stir mixture", " "), "line 4: .* no step may be empty"),
        (PRIMARY + RELATED[:20], "line 10: says '' steps"),
        (PRIMARY + PRIMARY, "line 7: task 23521 occurs twice"),
    ],
)
def test_bad_tasks_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tasks.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=f"tasks.txt: {message}"):
        read_tasks(path)


def test_a_task_in_both_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ["23521_x"])
    (tmp_path / "crosstask_release/tasks_related.txt").write_text(PRIMARY)
    with pytest.raises(UserError, match="tasks_related.txt: task 23521 is a primary one, too"):
        splits(tmp_path)


@pytest.mark.parametrize(
    "name", ["annotations", "videos.csv", "videos_val.csv", "tasks_related.txt"]
)
def test_a_missing_file_is_reported(tmp_path: Path, name: str) -> None:
    write(tmp_path, ["23521_x"])
    path = tmp_path / "crosstask_release" / name
    path.rename(path.with_suffix(".gone"))
    with pytest.raises(UserError, match=f"{name}: cannot be read"):
        splits(tmp_path)


def test_a_bad_table_of_videos_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ["23521_x"])
    (tmp_path / "crosstask_release/videos.csv").write_text("23521,x\n")
    with pytest.raises(UserError, match="videos.csv: the first row has 2 fields, expected 3"):
        splits(tmp_path)
