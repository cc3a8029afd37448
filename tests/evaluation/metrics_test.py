from random import Random

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vtmask.errors import UserError
from vtmask.evaluation import metrics

# Few distinct scores, so that ties are common.
SCORES = st.integers(1, 12).flatmap(
    lambda size: hnp.arrays(np.float32, (size, size), elements=st.integers(-3, 3))
)


def test_perfect_scores() -> None:
    assert metrics.retrieval(np.eye(20)) == {"R@1": 1, "R@5": 1, "R@10": 1, "MedR": 1}


def test_reversed_scores() -> None:
    assert metrics.retrieval(-np.eye(20)) == {"R@1": 0, "R@5": 0, "R@10": 0, "MedR": 20}


def test_ranks_by_hand() -> None:
    scores = np.array([[0.2, 0.9, 0.1], [0.3, 0.3, 0.0], [0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(metrics.ranks(scores), [2, 1.5, 2])


@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_constant_scores_have_the_median_rank_of_chance(size: int) -> None:
    scores = np.zeros((size, size))
    assert metrics.retrieval(scores)["MedR"] == metrics.chance(size)["MedR"]


def test_random_scores_are_near_chance() -> None:
    scores = np.random.default_rng(0).standard_normal((2000, 100))
    blocks = [metrics.retrieval(block) for block in scores.reshape(20, 100, 100)]
    for name, expected in metrics.chance(100).items():
        mean = np.mean([block[name] for block in blocks])
        assert mean == pytest.approx(expected, rel=0.2), name


@hypothesis.given(SCORES)
def test_rank_is_the_mean_over_all_orders_of_tied_candidates(scores: np.ndarray) -> None:
    right = np.diagonal(scores)[:, None]
    first, last = 1 + (scores > right).sum(1), (scores >= right).sum(1)
    np.testing.assert_array_equal(metrics.ranks(scores), (first + last) / 2)


@hypothesis.given(SCORES, st.randoms(use_true_random=False))
def test_order_of_pairs_does_not_matter(scores: np.ndarray, random: Random) -> None:
    order = random.sample(range(len(scores)), len(scores))
    shuffled = scores[np.ix_(order, order)]
    np.testing.assert_array_equal(metrics.ranks(shuffled), metrics.ranks(scores)[order])
    assert metrics.retrieval(shuffled) == metrics.retrieval(scores)


@hypothesis.given(SCORES)
def test_only_the_order_of_scores_matters(scores: np.ndarray) -> None:
    assert metrics.retrieval(np.exp(scores)) == metrics.retrieval(scores)


def test_more_candidates_than_queries() -> None:
    scores = np.array([[0.1, 0.0, 0.7], [0.0, 0.4, 0.2]])
    np.testing.assert_array_equal(metrics.ranks(scores), [2, 1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_named(bad: float) -> None:
    scores = np.zeros((4, 4))
    scores[2, 1] = bad
    with pytest.raises(UserError, match="query 2, candidate 1"):
        metrics.retrieval(scores)


@pytest.mark.parametrize("shape", [(0, 0), (3, 2), (4,)])
def test_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="queries, candidates"):
        metrics.ranks(np.zeros(shape))
