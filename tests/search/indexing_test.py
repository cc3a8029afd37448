"""An index holds every video once, complete and up to date, whatever happened before."""

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search.made import Made, write_model, write_video

import vtmask
from vtmask.errors import UserError
from vtmask.search import indexing, store
from vtmask.search.index import Index
from vtmask.search.indexing import Summary
from vtmask.search.store import Tables

LENGTHS = {"cake": 12, "garden/100% #1 'ünïcode'": 9, "old": 20, "short": 1}
Update = Callable[[], Summary]


def contents(folder: Path) -> dict[str, Any]:
    """Returns the content of an index, by the video's name."""
    index = Index(folder)
    tables = Tables(folder, index.card.size)
    names = {number: video.name for number, video in index.videos.items()}
    found: dict[str, Any] = {
        name: {"seconds": [], "captions": [], "thumbnails": []} for name in names.values()
    }
    assert len(found) == len(names)
    for part, table in zip(("seconds", "captions", "thumbnails"), tables.parts(), strict=True):
        for row in table.search().to_arrow().to_pylist():
            found[names[row.pop("video")]][part].append(tuple(map(str, row.values())))
    return {
        name: {part: sorted(rows) for part, rows in parts.items()} for name, parts in found.items()
    }


def counts(summary: Summary) -> tuple[int, int, int, int]:
    return summary.added, summary.updated, summary.removed, summary.unchanged


def test_every_second_is_embedded_as_the_model_does(made_once: Made) -> None:
    model = vtmask.load(made_once.model)
    tables = Tables(made_once.index, 16)
    index = Index(made_once.index)
    assert {video.name: video.seconds for video in index.videos.values()} == LENGTHS
    for video in index.videos.values():
        rows = tables.seconds.search().where(f"video = {video.video}").to_arrow().to_pylist()
        rows.sort(key=lambda row: row["place"])
        assert [row["place"] for row in rows] == list(range(LENGTHS[video.name]))
        vectors = np.array([row["vector"] for row in rows], np.float32)
        expected = model.encode_seconds(Path(video.path))
        np.testing.assert_allclose(vectors, expected, atol=2e-3)
        np.testing.assert_allclose(video.mean, expected.mean(axis=0), atol=2e-3)


def test_captions_and_thumbnails(made_once: Made) -> None:
    found = contents(made_once.index)
    assert found["cake"]["captions"] == [
        ("1.0", "3.5", "bake the apple cake"),
        ("8.0", "10.0", "把红球转一圈"),
    ]
    assert found["old"]["captions"] == [("5.0", "7.0", "baking is fun")]
    for name, length in LENGTHS.items():
        seconds = [int(second) for second, _ in found[name]["thumbnails"]]
        assert sorted(seconds) == list(range(0, length, store.THUMBNAIL_SECONDS))


def test_nothing_is_done_twice(own: Made, update: Update) -> None:
    before = contents(own.index)
    assert counts(update()) == (0, 0, 0, 4)
    assert contents(own.index) == before


def test_videos_are_added_updated_and_removed(own: Made, update: Update) -> None:
    before = contents(own.index)
    write_video(own.videos / "new.mp4", 3, 5)
    write_video(own.videos / "short.mp4", 4, 6)
    (own.videos / "old.avi").unlink()
    assert counts(update()) == (1, 1, 1, 2)
    after = contents(own.index)
    assert set(after) == {"cake", "garden/100% #1 'ünïcode'", "new", "short"}
    assert len(after["short"]["seconds"]) == 4
    assert after["cake"] == before["cake"]
    assert len(list((own.index / "features").glob("*.npy"))) == 4


def test_a_file_of_another_time_but_the_same_bytes_is_unchanged(own: Made, update: Update) -> None:
    os.utime(own.videos / "cake.mp4", (1, 1))
    assert counts(update()) == (0, 0, 0, 4)
    (video,) = (v for v in Index(own.index).videos.values() if v.name == "cake")
    assert video.changed() == ""


def test_a_file_of_the_same_size_but_another_time_is_looked_into(own: Made, update: Update) -> None:
    path = own.videos / "cake.mp4"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, (1, 1))
    assert counts(update()) == (0, 1, 0, 3)


def test_captions_that_change_are_read_again(own: Made, update: Update) -> None:
    (own.videos / "cake.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nother words\n")
    assert counts(update()) == (0, 1, 0, 3)
    assert contents(own.index)["cake"]["captions"] == [("1.0", "2.0", "other words")]


def test_captions_belong_to_the_video_of_their_name(own: Made, update: Update) -> None:
    captions = "WEBVTT\n\n00:00.000 --> 00:01.000\n"
    write_video(own.videos / "short.cut.mp4", 2, 8)
    (own.videos / "short.cut.vtt").write_text(captions + "of the cut")
    (own.videos / "old.de.vtt").write_text(captions + "auf Deutsch")
    (own.videos / "old.vtt").write_text(captions + "of no language")
    assert counts(update()) == (1, 1, 0, 3)
    found = {
        name: [c[-1] for c in parts["captions"]] for name, parts in contents(own.index).items()
    }
    assert found["short.cut"] == ["of the cut"]
    assert found["short"] == []
    assert found["old"] == ["of no language"]


def test_a_moved_video_needs_no_extraction(
    own: Made, update: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own.videos / "cake.mp4").rename(own.videos / "pie.mp4")
    monkeypatch.setattr(indexing.extraction, "extract_all", None)
    assert counts(update()) == (1, 0, 1, 3)


def test_another_folder_is_added_and_the_first_one_stays(own: Made, tmp_path: Path) -> None:
    write_video(tmp_path / "more" / "cake.mp4", 2, 7)
    shutil.rmtree(own.videos)  # a disk that is not there today
    summary = indexing.index([str(tmp_path / "more")], own.model, own.index)
    assert counts(summary) == (1, 0, 0, 0)
    assert sorted(v.name for v in Index(own.index).videos.values()) == sorted([*LENGTHS, "cake"])


def test_two_files_of_the_same_bytes_are_two_videos(own: Made, update: Update) -> None:
    shutil.copy(own.videos / "short.mp4", own.videos / "twin.mp4")
    assert counts(update()) == (1, 0, 0, 4)
    found = contents(own.index)
    assert found["twin"]["seconds"] == found["short"]["seconds"]


def test_bad_files_cost_only_themselves(own: Made, update: Update) -> None:
    (own.videos / "broken.mp4").write_bytes(b"no video")
    (own.videos / "cake.vtt").write_text("no captions")
    (own.videos / "dead.mp4").symlink_to(own.videos / "nowhere.mp4")
    summary = update()
    assert counts(summary) == (0, 1, 0, 3)
    assert len(summary.problems) == 3
    told = "\n".join(summary.lines(own.index))
    assert all(name in told for name in ("broken.mp4", "cake.vtt", "dead.mp4"))
    assert set(contents(own.index)) == set(LENGTHS)


class Killed(BaseException):
    pass


def test_kills_leave_no_video_twice_and_none_missing(
    own: Made, update: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that adds a video, updates one and removes one is killed at its first write, the next
    at its second, and so on until one ends."""
    write_video(own.videos / "new.mp4", 3, 5)
    write_video(own.videos / "cake.mp4", 4, 6)
    (own.videos / "old.avi").unlink()
    monkeypatch.setattr(indexing, "_AT_ONCE", 1)  # a video a time
    left = 0

    def dying(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            if not left:
                raise Killed
            left -= 1
            return write(*arguments, **options)

        return wrapped

    table = type(Tables(own.index, 16).videos)
    runs = 0
    with monkeypatch.context() as patch:
        for name in ("add", "merge_insert", "delete"):
            patch.setattr(table, name, dying(getattr(table, name)))
        while True:
            left, runs = runs, runs + 1
            with contextlib.suppress(Killed):
                update()
                break
            names = {video.name for video in Index(own.index).videos.values()}
            assert {"garden/100% #1 'ünïcode'", "short"} <= names  # searchable meanwhile
    assert runs > 4
    clean = dataclasses.replace(own, index=own.index.with_name("clean"))
    indexing.index([str(clean.videos)], clean.model, clean.index)
    assert contents(own.index) == contents(clean.index)


def test_another_model_is_refused(own: Made, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", num_layers=2)
    with pytest.raises(UserError, match=r"was made with model .*model, not .*other"):
        indexing.index([str(own.videos)], other, own.index)


def test_other_features_are_refused(own: Made, update: Update) -> None:
    card = json.loads((own.index / "index.json").read_text())
    (own.index / "index.json").write_text(json.dumps(card | {"feature_extractor": "s3d"}))
    with pytest.raises(UserError, match="was made with feature_extractor 's3d', not"):
        update()


def test_a_folder_of_other_things_is_refused(made_once: Made, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="holds other files, but no index"):
        indexing.index([str(made_once.videos)], made_once.model, tmp_path)


def test_one_command_at_a_time(own: Made, update: Update) -> None:
    with store.alone(own.index), pytest.raises(UserError, match="another command is at work"):
        update()
