import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vtmask.evaluation import windows

WINDOWS = st.integers(1, 8).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size)))


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (1, [0]),
        (31, [0]),
        (32, [0]),
        (33, [0, 16]),
        (48, [0, 16]),
        (49, [0, 16, 32]),
        (64, [0, 16, 32]),
    ],
)
def test_starts(length: int, expected: list[int]) -> None:
    assert windows.starts(length, 32, 16).tolist() == expected


@hypothesis.given(st.integers(1, 60), WINDOWS)
def test_windows_cover_a_video_and_none_is_redundant(length: int, window: tuple[int, int]) -> None:
    size, stride = window
    starts = windows.starts(length, size, stride)
    ends = np.minimum(starts + size, length)
    assert ends[-1] == length
    assert (ends[:-1] < length).all()
    assert (starts[1:] <= ends[:-1]).all()


@hypothesis.given(st.integers(1, 60), WINDOWS, st.integers(0, 99))
def test_merge_is_the_mean_over_windows(length: int, window: tuple[int, int], seed: int) -> None:
    size, stride = window
    starts = windows.starts(length, size, stride)
    lengths = np.minimum(size, length - starts)
    values = np.random.default_rng(seed).standard_normal((len(starts), size, 2), np.float32)
    expected = [
        np.mean(
            [v[i - a] for v, a, n in zip(values, starts, lengths, strict=True) if a <= i < a + n], 0
        )
        for i in range(length)
    ]
    actual = windows.merge(values, starts, lengths)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_values_beyond_a_window_are_ignored() -> None:
    values = np.array([[[1.0], [2.0], [np.nan]]])
    actual = windows.merge(values, np.array([0]), np.array([2]))
    np.testing.assert_array_equal(actual, [[1], [2]])


@pytest.mark.parametrize("arguments", [(0, 32, 16), (5, 4, 5), (5, 4, 0)])
def test_wrong_sizes_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="stride <= size"):
        windows.starts(*arguments)


def test_a_feature_in_no_window_is_refused() -> None:
    with pytest.raises(ValueError, match="feature 2 is in no window"):
        windows.merge(np.zeros((2, 2, 1)), np.array([0, 3]), np.array([2, 2]))
