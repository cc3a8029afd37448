"""Search returns the moments whose seconds the model scores highest."""

import dataclasses
import datetime
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from search.made import Made, write_model, write_video

import vtmask
from vtmask import peaks
from vtmask.errors import UserError
from vtmask.search import indexing, store
from vtmask.search.index import Index
from vtmask.search.moments import Filter, Moment, Seconds, clock, fuse

TEXT = "spin the blue box"
UNICODE = "garden/100% #1 'ünïcode'"


def by_name(index: Index, name: str) -> int:
    (number,) = (number for number, video in index.videos.items() if video.name == name)
    return number


def expected(made: Made, text: str, k: int) -> list[tuple[str, float, float, float, float]]:
    """Returns the moments by the scores of `localize` and the rule of `peaks`."""
    model, index = vtmask.load(made.model), Index(made.index)
    rows = []
    for video in index.videos.values():
        scores = model.localize(Path(video.path), text)
        bounds = np.array([0, len(scores)])
        moments = peaks.find(scores, bounds, np.array([scores.mean()]), k)
        rows += [
            (video.name, float(start), float(stop), float(peak), scores[peak])
            for peak, start, stop in zip(*moments, strict=True)
        ]
    return sorted(rows, key=lambda row: -row[-1])[:k]


@pytest.mark.parametrize("k", [1, 4, 100])
def test_moments_equal_those_of_localize(made_once: Made, k: int) -> None:
    moments = vtmask.Index(made_once.index).search(TEXT, k, by="pictures")
    right = expected(made_once, TEXT, k)
    assert [(m.name, m.start, m.end, m.peak) for m in moments] == [r[:4] for r in right]
    np.testing.assert_allclose([m.score for m in moments], [r[4] for r in right], atol=1e-4)


def test_the_vector_index_finds_what_exact_search_finds(
    made_copy: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = Index(made_copy.index).search(TEXT, 5)
    monkeypatch.setattr(store, "EXACT_UP_TO", 10)
    tables = store.Tables(made_copy.index, 16)
    tables.tidy()
    assert any("vector" in index.columns for index in tables.seconds.list_indices())
    assert Index(made_copy.index).search(TEXT, 5) == exact


def test_a_list_of_queries_gives_a_list_of_results(index: Index) -> None:
    texts = [TEXT, "lift a star"]
    assert index.search(texts, 3) == [index.search(text, 3) for text in texts]


def test_captions_are_found_by_words_in_any_script(index: Index) -> None:
    (moment,) = index.search("红球", by="captions")
    assert (moment.name, moment.start, moment.end, moment.caption) == (
        "cake",
        8,
        10,
        "把红球转一圈",
    )
    scores = index.scores("红球", moment.video)
    assert moment.peak in (8, 9)
    assert moment.score == pytest.approx(scores[8:10].max(), abs=1e-4)
    both = index.search("baking", by="captions")
    assert {moment.name for moment in both} == {"cake", "old"}  # stemming joins bake and baking


def test_matching_words_raise_the_rank_of_a_moment(index: Index) -> None:
    text = "apple cake"
    of_pictures = index.search(text, 100, by="pictures")
    first, second, *_ = index.search(text, 100)
    assert first == of_pictures[0]
    assert (second.name, second.caption) == ("cake", "bake the apple cake")


def test_results_are_fused_by_reciprocal_rank() -> None:
    def moment(video: int, start: float, caption: str = "") -> Moment:
        return Moment(video, "", "", start, start + 2, start, 0.0, caption)

    of_pictures = [moment(1, 0), moment(2, 0), moment(3, 0)]
    of_captions = [
        moment(3, 1, "in the third"),
        moment(3, 9, "elsewhere"),
        moment(1, 2, "after it"),
    ]
    fused = fuse(of_pictures, of_captions)
    # 1/61 + 1/63 for the third; then 1/61, 1/62 twice (of_pictures goes first), 1/63.
    assert fused == [
        dataclasses.replace(of_pictures[2], caption="in the third"),
        of_pictures[0],
        of_pictures[1],
        of_captions[1],
        of_captions[2],
    ]


def test_seconds_of_a_video_are_a_query(index: Index) -> None:
    video = by_name(index, "old")
    vectors = index.embed(Seconds(video, 3, 5))
    stretch = (
        store.Tables(index.folder, 16)
        .seconds.search()
        .where(f"video = {video} AND place IN (3, 4)")
    )
    np.testing.assert_allclose(
        vectors, np.mean(stretch.to_arrow()["vector"].to_pylist(), axis=0), atol=1e-6
    )
    moments = index.search(Seconds(video, 3, 5), 50)
    np.testing.assert_allclose(
        max(m.score for m in moments),
        max(index.scores(Seconds(video, 3, 5), n).max() for n in index.videos),
        atol=1e-4,
    )


def test_a_clip_is_a_query(index: Index, made_once: Made) -> None:
    clip = made_once.videos / "short.mp4"
    np.testing.assert_array_equal(index.embed(clip), index.model.embed_video(clip))
    assert index.search(clip, 2)


def test_scores_equal_those_of_localize(index: Index, made_once: Made) -> None:
    video = by_name(index, "old")
    scores = vtmask.load(made_once.model).localize(made_once.videos / "old.avi", TEXT)
    np.testing.assert_allclose(index.scores(TEXT, video), scores, atol=1e-4)


@pytest.mark.parametrize(
    ("filter", "names"),
    [
        (Filter(), {"cake", UNICODE, "old", "short"}),
        (Filter(path="GARDEN"), {UNICODE}),
        (Filter(path="*.avi"), {"old"}),
        (Filter(path="c?ke"), {"cake"}),
        (Filter(shortest=9, longest=12), {"cake", UNICODE}),
        (Filter(after=datetime.date(2100, 1, 1)), set()),
        (Filter(before=datetime.date(2100, 1, 1), longest=1), {"short"}),
        (Filter(path="none"), set()),
    ],
)
def test_filters(index: Index, filter: Filter, names: set[str]) -> None:
    assert {moment.name for moment in index.search("bake", 100, filter)} == names
    assert {moment.name for moment in index.search("bake", 100, filter, "captions")} <= names


def test_filters_by_date_include_their_days(index: Index, made_copy: Made) -> None:
    noon = datetime.datetime(2020, 5, 17, 12).timestamp()
    os.utime(made_copy.videos / "cake.mp4", (noon, noon))
    indexing.index([str(made_copy.videos)], made_copy.model, made_copy.index)
    day = datetime.date(2020, 5, 17)
    moments = Index(made_copy.index).search(TEXT, 100, Filter(after=day, before=day))
    assert {moment.name for moment in moments} == {"cake"}


@pytest.mark.parametrize(
    "text",
    ["", " ", "x" * 100_000, "\"' OR 1=1; --", "(a AND b) ~* ^:", "🎉🎉", "ⵣ\u202e\x00", "מה"],
)
def test_any_text_is_a_query(index: Index, text: str) -> None:
    assert len(index.search(text, 3)) == 3


def test_an_open_index_sees_later_changes(made_copy: Made) -> None:
    index = Index(made_copy.index)
    assert len({m.video for m in index.search(TEXT, 100)}) == 4
    write_video(made_copy.videos / "new.mp4", 3, 5)
    (made_copy.videos / "old.avi").unlink()
    indexing.index([str(made_copy.videos)], made_copy.model, made_copy.index)
    assert {m.name for m in index.search(TEXT, 100)} == {"cake", UNICODE, "short", "new"}


def test_a_wrong_query_is_refused(index: Index) -> None:
    with pytest.raises(UserError, match="k is 0"):
        index.search(TEXT, 0)
    with pytest.raises(UserError, match="by is 'sound', expected"):
        index.search(TEXT, by="sound")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="has no video 7 at 0–2 s"):
        index.search(Seconds(7, 0, 2))
    with pytest.raises(UserError, match="has no video 7"):
        index.scores(TEXT, 7)


def test_a_broken_index_is_reported_on_one_line(made_copy: Made, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not an index; `vtmask index"):
        Index(tmp_path)
    for file in (made_copy.index / "seconds.lance" / "data").iterdir():
        file.write_bytes(b"broken")
    with pytest.raises(UserError, match="index is damaged") as error:
        Index(made_copy.index).search(TEXT)
    assert "\n" not in str(error.value)
    (made_copy.index / "index.json").write_text(json.dumps({"model": "x"}))
    with pytest.raises(UserError, match="index is damaged"):
        Index(made_copy.index)


def test_an_index_of_an_earlier_version_is_rebuilt_from_its_features(made_copy: Made) -> None:
    size = Index(made_copy.index).card.size
    place = ("video", pa.int64()), ("place", pa.int32())
    earlier = pa.schema([*place, ("vector", pa.list_(pa.float16(), size))])
    lancedb.connect(str(made_copy.index)).create_table("seconds", schema=earlier, mode="overwrite")
    with pytest.raises(UserError, match=r"by an earlier version of vtmask; delete the folders \*"):
        Index(made_copy.index)
    features = sorted((made_copy.index / "features").glob("*.npy"))
    before = [path.stat().st_mtime_ns for path in features]
    for table in made_copy.index.glob("*.lance"):
        shutil.rmtree(table)
    indexing.index([str(made_copy.videos)], made_copy.model, made_copy.index)
    assert features and [path.stat().st_mtime_ns for path in features] == before
    assert Index(made_copy.index).search(TEXT)


def test_another_model_in_place_of_that_of_the_index_is_refused(
    made_copy: Made, tmp_path: Path
) -> None:
    other = write_model(tmp_path / "other", num_layers=2)
    with pytest.raises(UserError, match="was not made with the model that is now in"):
        Index(made_copy.index, other).search(TEXT)


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.9, 61, 3600, 36_061)] == [
        "0:00",
        "0:59",
        "1:01",
        "1:00:00",
        "10:01:01",
    ]


def test_the_guide_runs_as_written(made_once: Made) -> None:
    guide = Path(__file__).parents[2] / "docs" / "search.md"
    (example,) = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    example = example.replace("INDEX", str(made_once.index))
    variables: dict[str, Any] = {}
    exec(example.replace("clip.mp4", str(made_once.videos / "cake.mp4")), variables)
    assert len(variables["moments"]) == 5
