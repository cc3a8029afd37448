from random import Random
from typing import Any

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
def test_a_non_finite_score_is_reported_with_its_place(bad: float) -> None:
    scores = np.zeros((4, 4))
    scores[2, 1] = bad
    with pytest.raises(UserError, match="query 2, candidate 1"):
        metrics.retrieval(scores)


@pytest.mark.parametrize("shape", [(0, 0), (3, 2), (4,)])
def test_scores_of_the_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="queries, candidates"):
        metrics.ranks(np.zeros(shape))


def test_ranks_give_the_metrics_of_their_scores() -> None:
    scores = np.random.default_rng(1).standard_normal((30, 40))
    assert metrics.retrieval_of_ranks(metrics.ranks(scores)) == metrics.retrieval(scores)


def test_half_ranks_beyond_a_depth_do_not_count() -> None:
    actual = metrics.retrieval_of_ranks(np.array([1.0, 1.5, 5.5, 10.0]))
    assert actual == {"R@1": 0.25, "R@5": 0.5, "R@10": 1.0, "MedR": 3.5}


@pytest.mark.parametrize("shape", [(0,), (2, 2)])
def test_ranks_of_the_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"ranks \[queries\]"):
        metrics.retrieval_of_ranks(np.ones(shape))


def test_accuracy() -> None:
    assert metrics.accuracy(np.array([0, 1, 2, 2]), np.array([0, 2, 2, 2])) == 0.75
    for predicted, right in (([0], [0, 0]), ([], [])):
        with pytest.raises(ValueError, match="right and predicted of equal shape"):
            metrics.accuracy(np.array(predicted), np.array(right))


def test_random_answers_are_near_chance() -> None:
    predicted, right = np.random.default_rng(0).integers(0, 5, (2, 10_000))
    assert metrics.accuracy(predicted, right) == pytest.approx(metrics.chance_accuracy(5), rel=0.1)


def test_long_videos_count_more_in_frame_accuracy() -> None:
    right = [np.zeros(9, int), np.ones(1, int)]
    assert metrics.frame_accuracy([np.zeros(9, int), np.zeros(1, int)], right) == 0.9


@pytest.mark.parametrize(
    "predicted", [[np.zeros(3, int)], [np.zeros(2, int), np.zeros(3, int)], []]
)
def test_frames_that_do_not_fit_are_refused(predicted: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="same videos and features"):
        metrics.frame_accuracy(predicted, [np.zeros(3, int), np.zeros(2, int)])


def done(*steps: list[int]) -> np.ndarray:
    """Marks the seconds, out of six, in which each step is done."""
    truth = np.zeros((6, len(steps)), bool)
    for step, seconds in enumerate(steps):
        truth[seconds, step] = True
    return truth


def test_step_recall_pools_videos_of_a_task_and_averages_tasks() -> None:
    actual = metrics.step_recall(
        ["jello", "jello", "tire"],
        [np.array([0, 3]), np.array([1, 5]), np.array([2])],
        [done([0, 1], [2]), done([], [4, 5]), done([2, 3])],
    )
    # The second video's first step does not count, because it is never done.
    assert actual == pytest.approx({"jello": 2 / 3, "tire": 1.0, "recall": 5 / 6})


def test_an_unplaced_step_is_a_miss() -> None:
    actual = metrics.step_recall(["a"], [np.array([-1, 2])], [done([5], [2])])
    assert actual == {"a": 0.5, "recall": 0.5}


def test_tasks_without_a_step_done_are_left_out() -> None:
    nothing, one = done([], []), done([1], [2])
    seconds = np.array([1, 2])
    assert metrics.step_recall(["a", "b"], [seconds] * 2, [nothing, one]) == {"b": 1, "recall": 1}
    assert metrics.step_recall(["a"], [seconds], [nothing]) == {}


def test_steps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="a second for each step"):
        metrics.step_recall(["a"], [np.array([1])], [done([1], [2])])
    with pytest.raises(ValueError):
        metrics.step_recall(["a"], [], [])


RANKED = np.array([[[1, 2], [0, 0], [2, 3], [4, 5]]])


def test_moments_take_the_three_times_that_agree_best() -> None:
    times = [np.array([[4, 5], [1, 2], [1, 2], [1, 2]])]
    assert metrics.moments(RANKED, times) == {"rank@1": 1.0, "rank@5": 1.0, "mIoU": 1.0}
    assert metrics.moment_ranks(RANKED, [np.array([[4, 5], [1, 2], [0, 0]])]) == [7 / 3]
    assert metrics.moment_ious(RANKED, [np.array([[4, 5], [2, 3], [0, 5], [1, 1]])]) == [
        pytest.approx((1 / 3 + 1 / 3 + 1 / 2) / 3)
    ]


def test_fewer_than_three_times_are_averaged() -> None:
    ranked, times = np.repeat(RANKED, 2, axis=0), [np.array([[2, 3]]), np.array([[1, 2], [0, 0]])]
    np.testing.assert_array_equal(metrics.moment_ranks(ranked, times), [3, 1.5])
    np.testing.assert_allclose(metrics.moment_ious(ranked, times), [1 / 3, 0.5])


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([[[5, 5]]], "among the moments"),
        ([np.zeros((0, 2), int)], "one or more"),
        ([], "times for each"),
    ],
)
def test_wrong_times_are_refused(times: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.moments(RANKED, [np.array(of_sentence) for of_sentence in times])


def test_bootstrap_is_the_same_for_a_seed() -> None:
    values = np.random.default_rng(0).standard_normal(50)

    def mean(drawn: np.ndarray) -> dict[str, float]:
        return {"mean": values[drawn].mean()}

    first = metrics.bootstrap(mean, 50, seed=1)
    assert metrics.bootstrap(mean, 50, seed=1) == first
    assert metrics.bootstrap(mean, 50, seed=2) != first
    low, high = first["mean"]
    wide = metrics.bootstrap(mean, 50, level=0.99, seed=1)["mean"]
    assert wide[0] < low < values.mean() < high < wide[1]


def test_bootstrap_intervals_have_their_stated_coverage() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        values = rng.standard_normal(100)

        def mean(drawn: np.ndarray, values: np.ndarray = values) -> dict[str, float]:
            return {"mean": values[drawn].mean()}

        low, high = metrics.bootstrap(mean, 100, 200, 0.9, seed)["mean"]
        hits += low < 0 < high
    assert 165 <= hits <= 195


def test_a_figure_may_be_missing_in_some_draws() -> None:
    def drawn_first(drawn: np.ndarray) -> dict[str, float]:
        return {"always": 1.0} | ({"first": 2.0} if 0 in drawn else {})

    actual = metrics.bootstrap(drawn_first, 3)
    assert actual == {"always": (1.0, 1.0), "first": (2.0, 2.0)}


@pytest.mark.parametrize("arguments", [{"count": 0}, {"samples": 0}, {"level": 1.0}])
def test_wrong_arguments_of_the_bootstrap_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="count and samples"):
        metrics.bootstrap(lambda drawn: {}, **({"count": 1} | arguments))
