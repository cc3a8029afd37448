"""Metrics of predictions, in NumPy."""

import numpy as np

from vtmask.errors import UserError

_DEPTHS = (1, 5, 10)


def ranks(scores: np.ndarray) -> np.ndarray:
    """The rank of each query's right candidate; 1 is best.

    A rank is 1 + the number of candidates with a higher score + half the number of others with an
    equal score: the mean over all orders of tied candidates. So a model that gives every candidate
    the same score ranks as chance does, wherever the right one stands.

    Args:
      scores: [queries, candidates], higher is better; candidate i is right for query i, so there
        are at least as many candidates as queries.

    Returns:
      float64 [queries]; an odd number of ties makes a rank end in .5.

    Raises:
      UserError: a score is not finite.
      ValueError: the shape is not as above, or there are no queries.
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
    """How well queries find their candidates.

    Args:
      scores: [queries, candidates], as in `ranks`, which also says how ties count.

    Returns:
      "R@1", "R@5" and "R@10", the fraction of queries whose right candidate is among the first 1, 5
      or 10, and "MedR", the median rank (1 is best).

    Raises:
      UserError, ValueError: as `ranks` does.
    """
    rank = ranks(scores)
    recalls = {f"R@{depth}": float((rank <= depth).mean()) for depth in _DEPTHS}
    return recalls | {"MedR": float(np.median(rank))}


def chance(candidates: int) -> dict[str, float]:
    """What `retrieval` is on average when `candidates` are put in random order."""
    recalls = {f"R@{depth}": min(depth / candidates, 1.0) for depth in _DEPTHS}
    return recalls | {"MedR": (candidates + 1) / 2}
