from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vtmask.errors import UserError
from vtmask.evaluation import metrics
from vtmask.ranking import Ranking, rank

RNG = np.random.default_rng(0)


def brute_force(
    queries: np.ndarray, candidates: np.ndarray, right: np.ndarray, top: int
) -> Ranking:
    scores = (queries.astype(np.float64) @ candidates.astype(np.float64).T).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    ranks, best = [], []
    for row, indices in zip(scores, right.reshape(len(right), -1), strict=True):
        indices = indices[indices >= 0]
        best.append(row[indices].max())
        others = np.delete(row, indices)
        ranks.append(1 + (others > best[-1]).sum() + (others == best[-1]).sum() / 2)
    top_scores = np.take_along_axis(scores, order, axis=1)
    return Ranking(np.array(ranks), order, top_scores, np.array(best))


def assert_same(actual: Ranking, expected: Ranking) -> None:
    np.testing.assert_array_equal(actual.ranks, expected.ranks)
    np.testing.assert_array_equal(actual.top_scores, expected.top_scores)
    np.testing.assert_array_equal(actual.top_indices, expected.top_indices)
    np.testing.assert_array_equal(actual.right_scores, expected.right_scores)


def small_integers(*shape: int) -> np.ndarray:
    """Makes small integers: their products are exact and few, so ties are common."""
    return RNG.integers(-2, 3, shape).astype(np.float32)


@pytest.mark.parametrize("query_block", [1, 7, 64])
@pytest.mark.parametrize("candidate_block", [128, 384, 8192])
def test_block_sizes_need_not_divide_the_data(query_block: int, candidate_block: int) -> None:
    queries, candidates = small_integers(45, 3), small_integers(1000, 3)
    right = RNG.integers(0, 1000, 45)
    actual = rank(queries, candidates, right, 10, query_block, candidate_block)
    assert_same(actual, brute_force(queries, candidates, right, 10))
    assert actual.ranks.dtype == np.float64


@hypothesis.settings(max_examples=30)
@hypothesis.given(
    size=st.sampled_from([1, 6]),
    number=st.integers(1, 300),
    most=st.sampled_from([1, 3]),
    top=st.sampled_from([1, 150]),
    seed=st.integers(0, 99),
)
def test_ranks_agree_with_brute_force(
    size: int, number: int, most: int, top: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    queries, candidates = (rng.integers(-1, 2, (n, 2)).astype(np.float32) for n in (size, number))
    most = min(most, number)
    right = np.stack([rng.choice(number, most, replace=False) for _ in range(size)])
    right[:, 1:][rng.random((size, most - 1)) < 0.5] = -1
    actual = rank(queries, candidates, right, top, 4, 128)
    assert_same(actual, brute_force(queries, candidates, right, top))


def test_ranks_equal_those_of_metrics() -> None:
    queries, candidates = small_integers(30, 4), small_integers(200, 4)
    actual = rank(queries, candidates, np.arange(30), candidate_block=128)
    np.testing.assert_array_equal(actual.ranks, metrics.ranks(queries @ candidates.T))


@pytest.mark.parametrize(("query_block", "candidate_block"), [(40, 1024), (7, 256), (16, 128)])
def test_equal_candidates_tie_across_blocks(query_block: int, candidate_block: int) -> None:
    distinct = RNG.standard_normal((50, 96), np.float32)
    candidates = np.tile(distinct, (20, 1))
    right = RNG.integers(0, 1000, 40)
    queries = RNG.standard_normal((40, 96), np.float32)
    actual = rank(queries, candidates, right, 20, query_block, candidate_block)
    scores = queries.astype(np.float64) @ distinct.astype(np.float64).T
    better = (scores > scores[np.arange(40), right % 50, None]).sum(axis=1)
    np.testing.assert_array_equal(actual.ranks, 1 + 20 * better + 19 / 2)
    copies = scores.argmax(axis=1)[:, None] + np.arange(0, 1000, 50)
    np.testing.assert_array_equal(actual.top_indices, copies)


def test_a_candidate_may_be_right_for_several_queries_or_none() -> None:
    candidates = np.eye(5, dtype=np.float32)
    actual = rank(candidates[[3, 3, 1]], candidates, np.array([3, 3, 0]), top=2)
    np.testing.assert_array_equal(actual.ranks, [1, 1, 3.5])
    np.testing.assert_array_equal(actual.top_indices, [[3, 0], [3, 0], [1, 0]])


def test_the_best_of_several_right_candidates_counts() -> None:
    queries = np.ones((2, 1), np.float32)
    candidates = np.array([[5], [4], [3], [3], [3], [1]], np.float32)
    actual = rank(queries, candidates, np.array([[5, 2, 3], [1, -1, 0]]))
    np.testing.assert_array_equal(actual.ranks, [3.5, 1])  # 2 and 3 tie with 4 alone
    np.testing.assert_array_equal(actual.right_scores, [3, 5])


def test_candidates_may_be_a_memory_mapped_file_of_float16(tmp_path: Path) -> None:
    queries, candidates = small_integers(9, 8), small_integers(500, 8)
    np.save(tmp_path / "candidates.npy", candidates.astype(np.float16))
    mapped = np.load(tmp_path / "candidates.npy", mmap_mode="r")
    right = RNG.integers(0, 500, 9)
    actual = rank(queries, mapped, right, candidate_block=128)
    assert_same(actual, brute_force(queries, candidates, right, 10))


@pytest.mark.parametrize(
    ("bad", "dtype"),
    [(np.nan, np.float32), (np.inf, np.float16), (-np.inf, np.float32), (-1e30, np.float32)],
)
def test_a_non_finite_number_is_reported_with_its_row(bad: float, dtype: Any) -> None:
    queries, candidates = np.ones((4, 2), dtype), np.ones((300, 2), dtype)
    right = np.zeros(4, int)
    candidates[280, 1] = bad
    with pytest.raises(UserError, match="candidates: row 280 has a number"):
        rank(queries, candidates, right, candidate_block=128)
    queries[3, 0] = bad
    with pytest.raises(UserError, match="queries: row 3 has a number"):
        rank(queries, candidates, right)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"right": np.array([0, 3])}, "from -1 to 2"),
        ({"right": np.array([0, -1])}, "query 1 has no right candidate"),
        ({"right": np.array([[0, 1], [2, 2]])}, "same right candidate twice"),
        ({"right": np.array([0])}, "expected right"),
        ({"queries": np.ones((2, 5))}, r"queries \[Q, H\]"),
        ({"queries": np.ones((0, 4)), "right": np.zeros(0, int)}, "expected right"),
        ({"top": 0}, "top and blocks"),
        ({"candidate_block": 100}, "multiple of 128"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    good = {"queries": np.ones((2, 4)), "candidates": np.ones((3, 4)), "right": np.array([0, 1])}
    with pytest.raises(ValueError, match=message):
        rank(**(good | arguments))


@pytest.mark.parametrize(("number", "bars"), [(128, 0), (129, 2)])
def test_a_progress_bar_appears_only_for_several_blocks(
    number: int, bars: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rank(np.ones((1, 2)), np.ones((number, 2)), np.array([0]), candidate_block=128)
    ends = [line.rsplit("\r")[-1] for line in capsys.readouterr().err.split("\n")]
    assert sum("100%" in end for end in ends) == bars
