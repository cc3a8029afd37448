"""Captions are de-duplicated as published, and every dropped caption is counted."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtmask.datasets import captions
from vtmask.datasets.captions import Caption, Statistics
from vtmask.files import subtitles

_WORDS = ["now", "we", "are", "going", "to", "cut", "the", "onion"]
_TEXTS = st.lists(st.sampled_from(_WORDS)).map(" ".join)
_TIMES = st.integers(-2, 25) | st.floats()
_CAPTIONS = st.lists(st.builds(Caption, _TIMES, _TIMES, _TEXTS), max_size=12)


def timed(case: dict[str, list[Any]]) -> list[Caption]:
    rows = zip(case["start"], case["end"], case["text"], strict=True)
    return [Caption(start, end, text or "") for start, end, text in rows]


@pytest.mark.parametrize("side", ["into_previous", "into_current"])
def test_deduplication_agrees_with_the_published_one(golden_dir: Path, side: str) -> None:
    cases = json.loads((golden_dir / "caption_dedup.json").read_text())
    assert len(cases) == 60
    for case in cases:
        actual = captions.deduplicate(timed(case["input"]), lambda: side == "into_previous")
        assert actual == timed(case[side])


def test_rolling_captions_are_unrolled(reference_dir: Path) -> None:
    shown, _ = subtitles.read(reference_dir / "field/rolling/roll.vtt")
    unrolled, problems = captions.unroll(shown)
    assert " ".join(caption.text for caption in unrolled) == (
        "today we are going to make a simple cake so first you take two eggs and then crack them "
        "into the bowl after that we add a cup of sugar and mix it all together until it is smooth "
        "then the flour goes in a little at a time and we stir again"
    )
    assert len(shown) == 18 and len(unrolled) == 9
    assert problems == {"lines of a rolling caption shown again, removed": 17}
    for lost in range(len(shown)):  # a missing cue loses no word of another
        rest, _ = captions.unroll([*shown[:lost], *shown[lost + 1 :]])
        assert sum(len(caption.text.split()) for caption in rest) == 53


def test_captions_that_do_not_roll_are_unchanged() -> None:
    given = [
        Caption(0, 2, "I said no"),
        Caption(2, 3, "no no no"),
        Caption(5, 6, "no no no"),  # said again
        Caption(6, 7, ""),
        Caption(9, 9.5, "now golden"),
        Caption(9.5, 10, "en route"),
    ]
    assert captions.unroll(given) == (given, {})


@given(_CAPTIONS)
def test_unrolling_adds_no_word(given: list[Caption]) -> None:
    cleaned, _ = captions.clean(given, 20)
    actual, problems = captions.unroll(cleaned)
    rest = iter([word for caption in cleaned for word in caption.text.split()])
    assert all(word in rest for caption in actual for word in caption.text.split())  # in order
    assert len(cleaned) - problems.total() <= len(actual) <= len(cleaned)


@given(_CAPTIONS, st.integers(0, 9))
def test_clean_captions_stay_clean_when_deduplicated(given: list[Caption], seed: int) -> None:
    cleaned, problems = captions.clean(given, 20)
    assert len(cleaned) + sum(n for what, n in problems.items() if "cut" not in what) == len(given)
    actual = captions.deduplicate(cleaned, captions.coin(seed, "v"))
    assert len(actual) <= len(cleaned)
    for start, end, text in (*cleaned, *actual):
        assert 0 <= start <= end <= 20
        assert text and text == text.strip()
    cleaned_letters = "".join(caption.text.replace(" ", "") for caption in cleaned)
    assert sum(len(caption.text.replace(" ", "")) for caption in actual) <= len(cleaned_letters)
    assert bool(actual) == bool(cleaned)


def test_the_coin_depends_only_on_seed_and_video() -> None:
    def throws(seed: int, video_id: str) -> list[bool]:
        toss = captions.coin(seed, video_id)
        return [toss() for _ in range(400)]

    assert throws(1, "a") == throws(1, "a")
    assert len({tuple(throws(seed, video)) for seed in (1, 2) for video in "ab"}) == 4
    assert 150 < sum(throws(1, "a")) < 250


def test_bad_captions_are_counted() -> None:
    given = [
        Caption(8.5, 30.0, " c \n  d "),
        Caption(2.0, 3.0, "b"),
        Caption(-1.0, 1.0, "a"),
        Caption(4.0, 4.0, "at once"),
        Caption(1.0, 2.0, " \n"),
        Caption(3.0, 2.0, "x"),
        Caption(math.nan, 2.0, "x"),
        Caption(1.0, math.inf, "x"),
        Caption(-3.0, -2.0, "x"),
        Caption(10.0, 11.0, "x"),
        Caption(11.0, 12.0, "x"),
        Caption(1.0, 2.0, "\ud800"),
    ]
    kept, problems = captions.clean(given, 10)
    assert kept == [(0, 1, "a"), (2, 3, "b"), (4, 4, "at once"), (8.5, 10, "c d")]
    assert problems == {
        "caption cut at the video's end": 1,
        "caption cut at the video's start": 1,
        "empty caption": 1,
        "caption ends before it starts": 1,
        "caption without finite times": 2,
        "caption before the video's start": 1,
        "caption beyond the video's end": 2,
        "caption with half of a surrogate pair": 1,
    }


def test_cutting_captions_to_the_video_changes_no_window() -> None:
    given = [Caption(8.5, 30.0, "a"), Caption(-1.0, 1.5, "b"), Caption(2.2, 10.0, "c")]

    def window(caption: Caption) -> tuple[int, int]:
        return max(math.floor(caption.start), 0), min(math.ceil(caption.end), 10)

    kept, _ = captions.clean(given, 10)
    assert sorted(map(window, kept)) == sorted(map(window, given))


def test_statistics_of_a_video() -> None:
    statistics = Statistics()
    cues = [Caption(0.0, 2.0, "a b c"), Caption(1.0, 4.0, "d"), Caption(6.0, 7.0, "e f")]
    statistics.add(cues, 12)
    statistics.add([], 30)
    actual = statistics.to_json()
    assert actual["video_seconds"]["count"] == 2
    assert actual["video_seconds"]["mean"] == 21
    assert actual["captions"] == {
        "count": 2,
        "mean": 1.5,
        "min": 0,
        "max": 3,
        "bin_width": 10.0,
        "histogram": [2, *[0] * 59],
    }
    # The second caption's first second belongs to the first caption.
    lengths = actual["seconds_per_caption"]
    assert (lengths["count"], lengths["min"], lengths["max"]) == (3, 1, 2)
    assert lengths["histogram"][:5] == [0, 0, 1, 0, 2]
    assert actual["caption_seconds"]["max"] == 5
    assert actual["words_per_video_second"]["max"] == 0.5
    assert actual["words_per_caption_second"]["count"] == 1
    assert actual["words_per_caption_second"]["mean"] == pytest.approx(6 / 5)


def test_statistics_without_videos_or_seconds_have_no_nan() -> None:
    statistics = Statistics()
    statistics.add([Caption(0.0, 1e-320, "a")], 0)
    for actual in (Statistics().to_json(), statistics.to_json()):
        assert json.loads(json.dumps(actual, allow_nan=False)) == actual
    assert actual["words_per_video_second"]["mean"] is None
    assert actual["words_per_caption_second"]["count"] == 0


def test_the_last_bin_counts_all_larger_values() -> None:
    figure = captions.Figure(0.5)
    for value in (0.0, 0.49, 0.5, 29.9, 1e9):
        figure.add(value)
    assert figure.counts[:2] == [2, 1]
    assert figure.counts[-1] == 2
    assert sum(figure.counts) == figure.count == 5


@given(st.lists(st.tuples(_CAPTIONS, st.integers(0, 60)), max_size=6), st.integers(0, 6))
def test_statistics_of_parts_add_up(videos: list[tuple[list[Caption], int]], cut: int) -> None:
    parts = Statistics(), Statistics(), Statistics()
    for i, (cues, seconds) in enumerate(videos):
        kept, _ = captions.clean(cues, seconds)
        for part in (parts[0], parts[1 if i < cut else 2]):
            part.add(kept, seconds)
    assert parts[0] == parts[1] + parts[2] == parts[2] + parts[1]
