"""An index has every video once, complete and up to date, whatever happened before."""

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
    """Returns the content of an index by the names of videos. Vectors are in order of place."""
    index = Index(folder)
    tables = Tables(folder, index.card.size)
    names = {number: video.name for number, video in index.videos.items()}
    rows_of: dict[str, Any] = {
        name: {"seconds": [], "captions": [], "thumbnails": []} for name in names.values()
    }
    assert len(rows_of) == len(names)
    for part, table in zip(("seconds", "captions", "thumbnails"), tables.parts(), strict=True):
        for row in table.search().to_arrow().to_pylist():
            rows_of[names[row.pop("video")]][part].append(tuple(row.values()))
    for parts in rows_of.values():
        for part, rows in parts.items():
            parts[part] = sorted(rows)
        parts["vectors"] = np.array([vector for _, vector in parts["seconds"]])
        parts["seconds"] = [place for place, _ in parts["seconds"]]
    return rows_of


def check_same(indexed: dict[str, Any], expected: dict[str, Any]) -> None:
    """Vectors may differ in their last bits, because batches may have other sizes."""
    assert indexed.keys() == expected.keys()
    for name, parts in expected.items():
        assert indexed[name].keys() == parts.keys()
        np.testing.assert_allclose(indexed[name]["vectors"], parts["vectors"], atol=1e-5)
        for part in ("seconds", "captions", "thumbnails"):
            assert indexed[name][part] == parts[part]


def counts(summary: Summary) -> tuple[int, int, int, int]:
    return summary.added, summary.updated, summary.removed, summary.unchanged


def test_every_second_has_the_embedding_of_the_model(made_once: Made) -> None:
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
        np.testing.assert_allclose(vectors, expected, atol=1e-4)
        np.testing.assert_allclose(video.mean, expected.mean(axis=0), atol=1e-4)


def test_captions_and_thumbnails_are_indexed(made_once: Made) -> None:
    indexed = contents(made_once.index)
    assert indexed["cake"]["captions"] == [
        (1.0, 3.5, "bake the apple cake"),
        (8.0, 10.0, "把红球转一圈"),
    ]
    assert indexed["old"]["captions"] == [(5.0, 7.0, "baking is fun")]
    for name, length in LENGTHS.items():
        seconds = [int(second) for second, _ in indexed[name]["thumbnails"]]
        assert sorted(seconds) == list(range(0, length, store.THUMBNAIL_SECONDS))


def test_unchanged_videos_are_not_indexed_again(made_copy: Made, update: Update) -> None:
    before = contents(made_copy.index)
    assert counts(update()) == (0, 0, 0, 4)
    check_same(contents(made_copy.index), before)


def test_videos_are_added_updated_and_removed(made_copy: Made, update: Update) -> None:
    before = contents(made_copy.index)
    write_video(made_copy.videos / "new.mp4", 3, 5)
    write_video(made_copy.videos / "short.mp4", 4, 6)
    (made_copy.videos / "old.avi").unlink()
    assert counts(update()) == (1, 1, 1, 2)
    after = contents(made_copy.index)
    assert set(after) == {"cake", "garden/100% #1 'ünïcode'", "new", "short"}
    assert len(after["short"]["seconds"]) == 4
    check_same({"cake": after["cake"]}, {"cake": before["cake"]})
    assert len(list((made_copy.index / "features").glob("*.npy"))) == 4


def test_a_file_with_another_time_but_the_same_bytes_is_unchanged(
    made_copy: Made, update: Update
) -> None:
    os.utime(made_copy.videos / "cake.mp4", (1, 1))
    assert counts(update()) == (0, 0, 0, 4)
    (video,) = (v for v in Index(made_copy.index).videos.values() if v.name == "cake")
    assert video.changed() == ""


def test_a_file_with_other_bytes_of_the_same_size_is_updated(
    made_copy: Made, update: Update
) -> None:
    path = made_copy.videos / "cake.mp4"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, (1, 1))
    assert counts(update()) == (0, 1, 0, 3)


def test_captions_that_change_are_read_again(made_copy: Made, update: Update) -> None:
    (made_copy.videos / "cake.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nother words\n")
    assert counts(update()) == (0, 1, 0, 3)
    assert contents(made_copy.index)["cake"]["captions"] == [(1.0, 2.0, "other words")]


def test_captions_belong_to_the_video_with_their_name(made_copy: Made, update: Update) -> None:
    captions = "WEBVTT\n\n00:00.000 --> 00:01.000\n"
    write_video(made_copy.videos / "short.cut.mp4", 2, 8)
    (made_copy.videos / "short.cut.vtt").write_text(captions + "of the cut")
    (made_copy.videos / "old.de.vtt").write_text(captions + "auf Deutsch")
    (made_copy.videos / "old.vtt").write_text(captions + "of no language")
    assert counts(update()) == (1, 1, 0, 3)
    indexed = {
        name: [c[-1] for c in parts["captions"]]
        for name, parts in contents(made_copy.index).items()
    }
    assert indexed["short.cut"] == ["of the cut"]
    assert indexed["short"] == []
    assert indexed["old"] == ["of no language"]


def test_a_moved_video_needs_no_extraction(
    made_copy: Made, update: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made_copy.videos / "cake.mp4").rename(made_copy.videos / "pie.mp4")
    monkeypatch.setattr(indexing.extraction, "extract_all", None)
    assert counts(update()) == (1, 0, 1, 3)


def test_another_folder_is_added_and_the_first_one_stays(made_copy: Made, tmp_path: Path) -> None:
    write_video(tmp_path / "more" / "cake.mp4", 2, 7)
    shutil.rmtree(made_copy.videos)  # as if its disk were not mounted
    summary = indexing.index([str(tmp_path / "more")], made_copy.model, made_copy.index)
    assert counts(summary) == (1, 0, 0, 0)
    assert sorted(v.name for v in Index(made_copy.index).videos.values()) == sorted(
        [*LENGTHS, "cake"]
    )


def test_two_files_with_the_same_bytes_are_two_videos(made_copy: Made, update: Update) -> None:
    shutil.copy(made_copy.videos / "short.mp4", made_copy.videos / "twin.mp4")
    assert counts(update()) == (1, 0, 0, 4)
    indexed = contents(made_copy.index)
    check_same({"twin": indexed["twin"]}, {"twin": indexed["short"]})


def test_bad_files_affect_no_others(made_copy: Made, update: Update) -> None:
    (made_copy.videos / "broken.mp4").write_bytes(b"no video")
    (made_copy.videos / "cake.vtt").write_text("no captions")
    (made_copy.videos / "dead.mp4").symlink_to(made_copy.videos / "nowhere.mp4")
    summary = update()
    assert counts(summary) == (0, 1, 0, 3)
    assert len(summary.problems) == 3
    printed = "\n".join(summary.lines(made_copy.index))
    assert all(name in printed for name in ("broken.mp4", "cake.vtt", "dead.mp4"))
    assert set(contents(made_copy.index)) == set(LENGTHS)


class Killed(BaseException):
    pass


def test_kills_neither_duplicate_nor_lose_a_video(
    made_copy: Made, update: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs add a video, update one and remove one. The first run is killed at its first write, the
    next at its second, and so on until one succeeds."""
    write_video(made_copy.videos / "new.mp4", 3, 5)
    write_video(made_copy.videos / "cake.mp4", 4, 6)
    (made_copy.videos / "old.avi").unlink()
    monkeypatch.setattr(indexing, "AT_ONCE", 1)  # one video at a time
    left = 0

    def dying(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            if not left:
                raise Killed
            left -= 1
            return write(*arguments, **options)

        return wrapped

    table = type(Tables(made_copy.index, 16).videos)
    runs = 0
    with monkeypatch.context() as patch:
        for name in ("add", "merge_insert", "delete"):
            patch.setattr(table, name, dying(getattr(table, name)))
        while True:
            left, runs = runs, runs + 1
            with contextlib.suppress(Killed):
                update()
                break
            names = {video.name for video in Index(made_copy.index).videos.values()}
            assert {"garden/100% #1 'ünïcode'", "short"} <= names  # still searchable
    assert runs > 4
    clean = dataclasses.replace(made_copy, index=made_copy.index.with_name("clean"))
    indexing.index([str(clean.videos)], clean.model, clean.index)
    check_same(contents(made_copy.index), contents(clean.index))


def test_another_model_is_refused(made_copy: Made, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", num_layers=2)
    with pytest.raises(UserError, match=r"was made with model .*model', not .*other'"):
        indexing.index([str(made_copy.videos)], other, made_copy.index)


def test_other_features_are_refused(made_copy: Made, update: Update) -> None:
    card = json.loads((made_copy.index / "index.json").read_text())
    (made_copy.index / "index.json").write_text(json.dumps(card | {"feature_extractor": "s3d"}))
    with pytest.raises(UserError, match="was made with feature_extractor 's3d', not"):
        update()


def test_a_folder_of_other_things_is_refused(made_once: Made, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="has files, but no index"):
        indexing.index([str(made_once.videos)], made_once.model, tmp_path)


def test_a_second_command_is_refused(made_copy: Made, update: Update) -> None:
    with store.alone(made_copy.index), pytest.raises(UserError, match="another command is adding"):
        update()
