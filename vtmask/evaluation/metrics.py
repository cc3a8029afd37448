"""Metrics of predictions, in NumPy.

Scores and predictions are arrays. Metrics of the published tasks agree with the published
implementation (MMPT); see `tests/golden/metrics.json`.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vtmask.errors import UserError

_DEPTHS = (1, 5, 10)
_MOMENT_DEPTHS = (1, 5)
_AGREEING = 3  # annotations of a DiDeMo sentence that count


def ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks each query's right candidate; 1 is best.

    A rank is 1 + the number of candidates with a higher score + half the number of others with an
    equal score, which is the mean over all orders of tied candidates. So a model that gives every
    candidate the same score has the ranks of chance, whatever the order of candidates.

    Args:
      scores: [queries, candidates], higher is better; candidate i is right for query i, so there
        are at least as many candidates as queries.

    Returns:
      float64 [queries]; with an odd number of ties a rank ends in .5.

    Raises:
      UserError: a score is not finite.
      ValueError: the shape is wrong, or there are no queries.
    """
    if scores.ndim != 2 or not 0 < scores.shape[0] <= scores.shape[1]:
        raise ValueError(f"expected scores [queries, candidates >= queries], got {scores.shape}")
    bad = np.argwhere(~np.isfinite(scores))
    if len(bad):
        query, candidate = bad[0]
        raise UserError(
            f"scores: {len(bad)} not finite, the first at query {query}, candidate {candidate}; "
            "check the features and the checkpoint for NaN"
        )
    right = np.diagonal(scores)[:, None]
    better = (scores > right).sum(axis=1)
    tied = (scores == right).sum(axis=1) - 1
    return 1 + better + tied / 2


def retrieval(scores: np.ndarray) -> dict[str, float]:
    """Computes recall and median rank of scores: `retrieval_of_ranks` of their `ranks`.

    Args:
      scores: [queries, candidates], as in `ranks`.

    Raises:
      UserError, ValueError: as in `ranks`.
    """
    return retrieval_of_ranks(ranks(scores))


def retrieval_of_ranks(ranks: np.ndarray) -> dict[str, float]:
    """Computes recall and median rank.

    Args:
      ranks: of each query's right candidate, [queries]; 1 is best. They come from the function
        `ranks` or, for millions of candidates, from `vtmask.ranking`.

    Returns:
      "R@1", "R@5" and "R@10", the fractions of queries whose right candidate is among the first 1,
      5 or 10, and "MedR", the median rank.

    Raises:
      ValueError: there are no queries.
    """
    if ranks.ndim != 1 or not len(ranks):
        raise ValueError(f"expected ranks [queries] of one query or more, got {ranks.shape}")
    recalls = {f"R@{depth}": float((ranks <= depth).mean()) for depth in _DEPTHS}
    return recalls | {"MedR": float(np.median(ranks))}


def chance(candidates: int) -> dict[str, float]:
    """Returns the expected `retrieval` if `candidates` are in random order."""
    recalls = {f"R@{depth}": min(depth / candidates, 1.0) for depth in _DEPTHS}
    return recalls | {"MedR": (candidates + 1) / 2}


def accuracy(predicted: np.ndarray, right: np.ndarray) -> float:
    """Computes the fraction of predictions that are right, such as answers in MSR-VTT QA.

    Args:
      predicted, right: classes, two arrays of equal shape.

    Raises:
      ValueError: the shapes differ, or there are no predictions.
    """
    if predicted.shape != right.shape or not predicted.size:
        raise ValueError(
            f"expected right and predicted of equal shape, got {right.shape}, {predicted.shape}"
        )
    return float((predicted == right).mean())


def chance_accuracy(answers: int) -> float:
    """Returns the expected `accuracy` if one of `answers` is drawn for each question."""
    return 1 / answers


def frame_accuracy(predicted: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> float:
    """Computes COIN's frame accuracy: the fraction of all features with the right class.

    Features of long and short videos have equal weight, and so do background (class 0) and steps.

    Args:
      predicted, right: for each video, the classes of its features, int [features].

    Raises:
      ValueError: a video's two arrays differ in shape, or there are no features.
    """
    if [classes.shape for classes in predicted] != [classes.shape for classes in right]:
        raise ValueError("expected predicted and right classes of the same videos and features")
    return accuracy(np.concatenate([[], *predicted]), np.concatenate([[], *right]))


def step_recall(
    tasks: Sequence[str], assigned: Sequence[np.ndarray], right: Sequence[np.ndarray]
) -> dict[str, float]:
    """Computes CrossTask's recall: the share of steps whose assigned second shows them.

    The recall of a task is the number of steps with a right second divided by the number of steps
    that are done, both summed over its videos. A step that isn't done in a video doesn't count
    there, whatever second it was assigned. The mean over tasks gives all tasks equal weight,
    regardless of their number of videos.

    Args:
      tasks: the task of each video.
      assigned: for each video, the second of each step, int [steps], or -1 for none; see
        `vtmask.evaluation.ordered_steps`.
      right: for each video, bool [seconds, steps], True where a step is done.

    Returns:
      The recall of each task, and "recall", their mean. Tasks none of whose steps is done in any
      video are left out. If no task is left, there is no mean.

    Raises:
      ValueError: the arguments differ in the number of videos or of a video's steps.
    """
    hits, done = defaultdict[str, int](int), defaultdict[str, int](int)
    for task, seconds, truth in zip(tasks, assigned, right, strict=True):
        if truth.ndim != 2 or seconds.shape != truth.shape[1:]:
            raise ValueError(
                f"expected a second for each step of {truth.shape}, got {seconds.shape}"
            )
        steps = np.flatnonzero(seconds >= 0)
        hits[task] += int(np.count_nonzero(truth[seconds[steps], steps]))
        done[task] += int(np.count_nonzero(truth.any(axis=0)))
    recalls = {task: hits[task] / number for task, number in done.items() if number}
    return recalls | ({"recall": sum(recalls.values()) / len(recalls)} if recalls else {})


def moments(ranked: np.ndarray, times: Sequence[np.ndarray]) -> dict[str, float]:
    """Computes DiDeMo's figures of moment retrieval (Hendricks et al., ICCV 2017, section 5.1).

    Args:
      ranked: int [sentences, moments, 2], as in `moment_ranks`.
      times: int [annotators, 2] for each sentence, as in `moment_ranks`.

    Returns:
      "rank@1" and "rank@5", the fractions of sentences whose `moment_ranks` are at most 1 and 5,
      and "mIoU", the mean of `moment_ious`.

    Raises:
      ValueError: as in `moment_ranks`.
    """
    ranks = moment_ranks(ranked, times)
    recalls = {f"rank@{depth}": float((ranks <= depth).mean()) for depth in _MOMENT_DEPTHS}
    return recalls | {"mIoU": float(moment_ious(ranked, times).mean())}


def moment_ranks(ranked: np.ndarray, times: Sequence[np.ndarray]) -> np.ndarray:
    """Ranks each sentence: the mean of the three best ranks of its annotators' moments.

    Args:
      ranked: moments as first and last segment, best first, int [sentences, moments, 2]; see
        `vtmask.evaluation.moments`.
      times: for each sentence, its annotators' moments, int [annotators, 2]. If there are fewer
        than three, the mean is over all of them.

    Returns:
      float64 [sentences]; 1 is best.

    Raises:
      ValueError: there are no sentences, one has no times, or a time is not among its moments.
    """
    flat, counts = _joined(ranked, times)
    same = (np.repeat(ranked, counts, axis=0) == flat[:, None]).all(axis=-1)
    if not same.any(axis=1).all():
        raise ValueError("expected every time to be among the moments that were ranked")
    return _mean_of_least(same.argmax(axis=1) + 1.0, counts)


def moment_ious(ranked: np.ndarray, times: Sequence[np.ndarray]) -> np.ndarray:
    """Computes the IoU of each sentence's first moment with those of its annotators.

    It is the mean of the three highest.

    Args:
      ranked, times: as in `moment_ranks`. IoUs are measured in segments, not in seconds.

    Returns:
      float64 [sentences], 0 to 1.

    Raises:
      ValueError: there are no sentences, or one has no times.
    """
    flat, counts = _joined(ranked, times)
    first = np.repeat(ranked[:, 0], counts, axis=0)
    both = np.minimum(first[:, 1], flat[:, 1]) - np.maximum(first[:, 0], flat[:, 0]) + 1
    both = np.maximum(both, 0)
    either = (first[:, 1] - first[:, 0] + 1) + (flat[:, 1] - flat[:, 0] + 1) - both
    return -_mean_of_least(-both / either, counts)


def _joined(ranked: np.ndarray, times: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Joins the times of all sentences, int [times, 2], and counts those of each sentence."""
    counts = np.array([len(of_sentence) for of_sentence in times])
    if not len(counts) == len(ranked) > 0 or not counts.all():
        raise ValueError(f"expected times for each of {len(ranked)} sentences, one or more")
    return np.concatenate(times), counts


def _mean_of_least(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Averages the three least of the first counts[0] values, of the next counts[1], and so on."""
    group = np.repeat(np.arange(len(counts)), counts)
    position = np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)
    least = values[np.lexsort((values, group))] * (position < _AGREEING)
    return np.bincount(group, least) / np.minimum(counts, _AGREEING)


def bootstrap(
    statistic: Callable[[np.ndarray], Mapping[str, float]],
    count: int,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Computes percentile bootstrap intervals (Efron 1979) of figures over examples.

        bootstrap(lambda drawn: retrieval_of_ranks(ranks[drawn]), len(ranks))

    Args:
      statistic: computes figures, by name, of the examples at the given indices, int [count]. The
        indices are drawn with replacement.
      count: number of examples.
      samples: number of draws.
      level: of the intervals; 0.95 leaves out 2.5 % on either side.
      seed: of the draws.

    Returns:
      (low, high) for each figure. If some draws lack a figure, for example because no video of a
      task was drawn, its interval is over the other draws.

    Raises:
      ValueError: `count` or `samples` is less than 1, or `level` not between 0 and 1.
    """
    if count < 1 or samples < 1 or not 0 < level < 1:
        raise ValueError(
            f"expected count and samples >= 1, level in (0, 1), got {count}, {samples}, {level}"
        )
    rng = np.random.default_rng(seed)
    draws = defaultdict[str, list[float]](list)
    for _ in range(samples):
        for name, value in statistic(rng.integers(count, size=count)).items():
            draws[name].append(value)
    tail = (1 - level) / 2
    intervals = {name: np.quantile(values, [tail, 1 - tail]) for name, values in draws.items()}
    return {name: (float(low), float(high)) for name, (low, high) in intervals.items()}
