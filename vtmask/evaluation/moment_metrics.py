"""Metrics of moment retrieval with times in seconds, in NumPy.

They follow Charades-STA (Gao et al., ICCV 2017, section 5.1) and QVHighlights (Lei, Berg and
Bansal, NeurIPS 2021, section 5; `standalone_eval` of moment_detr). `vtmask.evaluation.metrics` has
DiDeMo's metrics.
"""

import numpy as np

THRESHOLDS = np.arange(50, 100, 5) / 100  # of the mean average precision
_RECALLED = (0.5, 0.7)


def ious(windows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Computes the IoU of windows with others; 0 if both are empty.

    Args:
      windows: start and end, [..., P, 2].
      others: the same, [..., G, 2].

    Returns:
      float64 [..., P, G].
    """
    start, end = np.moveaxis(np.asarray(windows, float)[..., :, None, :], -1, 0)
    other_start, other_end = np.moveaxis(np.asarray(others, float)[..., None, :, :], -1, 0)
    both = np.maximum(np.minimum(end, other_end) - np.maximum(start, other_start), 0)
    either = (end - start) + (other_end - other_start) - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def average_precision(ranked: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Computes the interpolated average precision of a query's windows at each of `THRESHOLDS`.

    Ranked windows are matched to annotated ones, best first. A window is a hit if its IoU reaches
    the threshold with an annotated window that no better window has taken; it takes the one with
    the highest IoU. Precision at a recall is the highest at this or a higher recall (VOC 2011).

    Args:
      ranked: windows, best first, [P, 2]; QVHighlights counts ten.
      right: annotated windows, in any order, [G, 2], one or more.

    Returns:
      float64 [10], 0 to 1.
    """
    overlaps = ious(ranked, right)
    reached = overlaps[None] >= THRESHOLDS[:, None, None]
    taken = np.zeros((len(THRESHOLDS), len(right)), bool)
    hit = np.zeros((len(THRESHOLDS), len(ranked)), bool)
    rows = np.arange(len(THRESHOLDS))
    for place in range(len(ranked)):
        free = reached[:, place] & ~taken
        best = np.where(free, overlaps[place], -1).argmax(axis=1)
        hit[:, place] = free.any(axis=1)
        taken[rows, best] |= hit[:, place]
    precision = hit.cumsum(axis=1) / np.arange(1, len(ranked) + 1)
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return (highest * hit).sum(axis=1) / len(right)


def windows(first_ious: np.ndarray, precisions: np.ndarray) -> dict[str, float]:
    """Computes the figures of a split from those of its queries.

    Args:
      first_ious: the highest IoU of each query's first window with an annotated one, [queries].
      precisions: `average_precision` of each query, [queries, 10].

    Returns:
      "R@1, IoU 0.5" and "R@1, IoU 0.7", the fractions of queries whose first window reaches this
      IoU; "mAP", the mean over queries and thresholds 0.5, 0.55, …, 0.95; "mIoU", the mean IoU of
      first windows.
    """
    recalls = {f"R@1, IoU {least}": float((first_ious >= least).mean()) for least in _RECALLED}
    return recalls | {"mAP": float(precisions.mean()), "mIoU": float(first_ious.mean())}
