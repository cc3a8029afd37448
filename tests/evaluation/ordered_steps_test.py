from itertools import combinations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vtmask.errors import UserError
from vtmask.evaluation import ordered_steps

SHAPES = st.tuples(st.integers(0, 7), st.integers(2, 6))


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    probabilities = np.exp(logits)
    return np.log(probabilities / probabilities.sum(axis=1, keepdims=True))


def best_of_all(scores: np.ndarray) -> list[int]:
    """Tries all ordered assignments of rows to columns; ties go to the earliest last row."""
    rows, columns = scores.shape
    ways = sorted(combinations(range(rows), columns), key=lambda way: way[::-1])
    return list(max(ways, key=lambda way: round(scores[list(way), range(columns)].sum(), 9)))


@hypothesis.given(SHAPES, st.integers(0, 999))
def test_assignment_agrees_with_brute_force(shape: tuple[int, int], seed: int) -> None:
    seconds, steps = shape
    logits = np.random.default_rng(seed).standard_normal(shape)
    actual = ordered_steps.assign(logits)
    scores = log_probabilities(logits)
    if steps <= seconds:
        assert actual.tolist() == best_of_all(scores)
    else:
        assert np.flatnonzero(actual >= 0).tolist() == best_of_all(scores.T)
        assert actual[actual >= 0].tolist() == list(range(seconds))


@hypothesis.given(st.integers(1, 6), st.integers(2, 4))
def test_ties_go_to_the_first_seconds(more: int, steps: int) -> None:
    actual = ordered_steps.assign(np.zeros((steps + more, steps)))
    assert actual.tolist() == list(range(steps))


def test_each_step_is_at_its_peak() -> None:
    logits = np.zeros((30, 3), np.float32)
    logits[[4, 5, 29], [0, 1, 2]] = 5
    assert ordered_steps.assign(logits).tolist() == [4, 5, 29]


def test_order_takes_precedence_over_peaks() -> None:
    logits = np.zeros((4, 2))
    logits[3, 0], logits[0, 1] = 3, 2
    assert ordered_steps.assign(logits).tolist() == [1, 2]


def test_one_step_is_at_its_highest_logit() -> None:
    assert ordered_steps.assign(np.array([[0.0], [2.0], [1.0]])).tolist() == [1]


def test_as_many_steps_as_seconds() -> None:
    logits = np.random.default_rng(0).standard_normal((5, 5))
    assert ordered_steps.assign(logits).tolist() == [0, 1, 2, 3, 4]


def test_steps_beyond_the_seconds_are_not_placed() -> None:
    logits = np.zeros((2, 4))
    logits[0, 1] = logits[1, 3] = 9
    assert ordered_steps.assign(logits).tolist() == [-1, 0, -1, 1]
    assert ordered_steps.assign(np.zeros((0, 3))).tolist() == [-1, -1, -1]


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, 0.0], [0.0, -1e4], [0.0, 1e4]], np.float32)
    assert ordered_steps.assign(logits).tolist() == [0, 2]


def test_a_non_finite_logit_is_reported_with_its_place() -> None:
    logits = np.zeros((4, 3))
    logits[2, 1] = np.nan
    with pytest.raises(UserError, match="second 2, step 1"):
        ordered_steps.assign(logits)


@pytest.mark.parametrize("shape", [(4,), (4, 0)])
def test_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="seconds, steps"):
        ordered_steps.assign(np.zeros(shape))
