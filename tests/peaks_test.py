"""Moments extend from a peak to half of its height, and do not overlap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtmask import peaks


def find(scores: list[float], bounds: list[int], bases: list[float], count: int = 9) -> list[tuple]:
    actual = peaks.find(np.array(scores), np.array(bounds), np.array(bases), count)
    return list(zip(*(part.tolist() for part in actual), strict=True))


def test_a_moment_spans_the_seconds_above_half_of_its_peak() -> None:
    #         0  1  2  3  4  5  6  7  8
    scores = [0, 1, 5, 9, 8, 4, 1, 6, 2.0]
    # Heights are from 1: half of 9 is 5, half of 6 is 3.5.
    assert find(scores, [0, 9], [1.0]) == [(3, 2, 5), (7, 7, 8)]


def test_moments_end_with_their_video() -> None:
    scores = [1, 8, 9, 9, 8, 1.0]
    assert find(scores, [0, 3, 6], [0.0, 0.0]) == [(2, 1, 3), (3, 3, 5)]


def test_the_best_moments_come_first_up_to_the_count() -> None:
    scores = [3, 0, 7, 0, 5, 0.0]
    assert find(scores, [0, 6], [0.0], count=2) == [(2, 2, 3), (4, 4, 5)]


def test_a_lower_peak_takes_only_the_remaining_seconds() -> None:
    scores = [6, 5, 4.9, 5, 5.5, 2, 10, 7, 0.0]
    # 10's half from 0 is 5: it ends at 2. Around 5.5, half is 2.75, up to 10's start.
    assert find(scores, [0, 9], [0.0]) == [(6, 6, 8), (0, 0, 5)]


def test_a_moment_ends_at_the_slope_of_a_higher_peak() -> None:
    scores = [0, 4, 3, 6, 20, 0.0]
    # 20's half is 10. Around 4, half is 2, up to where 20's slope rises above 4.
    assert find(scores, [0, 6], [0.0]) == [(4, 4, 5), (1, 1, 3)]


def test_a_still_video_is_one_moment_of_limited_length() -> None:
    actual = find([2.0] * 100, [0, 100], [2.0])
    assert actual == [(0, 0, peaks.REACH + 1)]


def test_a_base_above_the_peak_leaves_only_the_peak() -> None:
    assert find([1, 2, 1.0], [0, 3], [9.0]) == [(1, 1, 2)]


def test_no_scores_give_no_moments() -> None:
    assert find([], [0], []) == []


def test_bounds_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="bounds that end with 3"):
        find([1, 2, 3.0], [0, 2], [0.0])


@given(
    st.lists(st.lists(st.integers(-5, 5), min_size=1, max_size=40), min_size=1, max_size=4),
    st.integers(1, 10),
)
def test_moments_do_not_overlap_and_are_ordered_by_their_peaks(
    videos: list[list[int]], count: int
) -> None:
    scores = np.concatenate([np.array(video, float) for video in videos])
    bounds = np.cumsum([0, *map(len, videos)])
    means = np.array([np.mean(video) for video in videos])
    actual = peaks.find(scores, bounds, means, count)
    assert len(actual.peak) <= count
    assert (np.diff(scores[actual.peak]) <= 0).all()
    taken = np.zeros(len(scores), int)
    for peak, start, stop in zip(*actual, strict=True):
        assert start <= peak < stop
        assert scores[peak] == scores[start:stop].max()
        assert np.searchsorted(bounds, start, "right") == np.searchsorted(bounds, stop, "left")
        taken[start:stop] += 1
    assert taken.max() <= 1
    assert scores[actual.peak[0]] == scores.max()
