"""Finds moments in per-second scores: each peak with its full width at half maximum; in NumPy.

As with a line in a spectrum, a moment is the run of seconds around a peak whose scores reach
halfway between the video's mean and the peak, and no higher than the peak. Its length follows from
the video, not from a threshold or from the number of moments asked for.
"""

from typing import NamedTuple

import numpy as np

REACH = 30  # maximum number of places from a peak to either end of its moment


class Moments(NamedTuple):
    """Stretches of scores, highest peaks first; int [moments] each.

    Attributes:
      peak: place of the highest score.
      start, stop: the first place, and the one after the last.
    """

    peak: np.ndarray
    start: np.ndarray
    stop: np.ndarray


def find(scores: np.ndarray, bounds: np.ndarray, bases: np.ndarray, count: int) -> Moments:
    """Finds the moments with the highest peaks; no two share a place.

    Args:
      scores: scores of the seconds of several stretches of video, concatenated: [N].
      bounds: where each stretch begins, followed by N: int [stretches + 1], rising from 0.
      bases: level from which the height of a peak is measured, the mean score of the stretch's
        video: [stretches].
      count: maximum number of moments.

    Raises:
      ValueError: the shapes don't fit.
    """
    if bounds[-1] != len(scores) or len(bases) != len(bounds) - 1:
        raise ValueError(
            f"expected bounds that end with {len(scores)} and a base for each stretch, got "
            f"{bounds[-1]}, {len(bounds) - 1} stretches and {len(bases)} bases"
        )
    peaks = _local_maxima(scores, bounds)
    peaks = peaks[np.argsort(-scores[peaks], kind="stable")]
    stretch = np.searchsorted(bounds, peaks, side="right") - 1
    taken = np.zeros(len(scores), bool)
    moments: list[tuple[int, int, int]] = []
    for peak, first, last, base in zip(
        peaks.tolist(),
        np.maximum(bounds[stretch], peaks - REACH).tolist(),
        np.minimum(bounds[stretch + 1], peaks + REACH + 1).tolist(),
        bases[stretch].tolist(),
        strict=True,
    ):
        if len(moments) == count:
            break
        if taken[peak]:
            continue
        near, height = scores[first:last], scores[peak]
        # What rises above this peak is the slope of a higher one.
        outside = taken[first:last] | (near < (height + base) / 2) | (near > height)
        outside[peak - first] = False  # even if the base is above the peak
        before, after = outside[: peak - first], outside[peak - first :]
        start = peak - int(before[::-1].argmax()) if before.any() else first
        stop = peak + int(after.argmax()) if after.any() else last
        taken[start:stop] = True
        moments.append((peak, start, stop))
    return Moments(*np.array(moments, int).reshape(-1, 3).T)


def _local_maxima(scores: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Returns the places without a higher neighbour in their stretch; the first of equal ones."""
    rises, falls = np.ones(len(scores), bool), np.ones(len(scores), bool)
    rises[1:] = scores[1:] > scores[:-1]
    falls[:-1] = scores[:-1] >= scores[1:]
    rises[bounds[:-1]] = True
    falls[bounds[1:] - 1] = True
    return np.flatnonzero(rises & falls)
