"""Moments in scores of seconds: each peak with what is around it at half of its height; in NumPy.

A moment is the full width at half maximum, as physics has it of a line in a spectrum: the seconds
around a peak whose score is above the middle between the peak and the mean of the video. So its
length follows from the video, and neither from a threshold nor from how many moments are wanted.
"""

from typing import NamedTuple

import numpy as np

REACH = 30  # places from a peak to an end of its moment, at most


class Moments(NamedTuple):
    """Stretches of scores, those of the highest peaks first; int [moments] each.

    Attributes:
      peak: where the best score is.
      start, stop: first place, and the one after the last.
    """

    peak: np.ndarray
    start: np.ndarray
    stop: np.ndarray


def find(scores: np.ndarray, bounds: np.ndarray, bases: np.ndarray, count: int) -> Moments:
    """The moments with the highest peaks, of which no two share a place.

    Args:
      scores: of the seconds of several stretches of video, one stretch after another: [N].
      bounds: where each stretch begins, and N: int [stretches + 1], rising from 0.
      bases: what the height of a peak is measured from in each stretch, the mean score of its
        video: [stretches].
      count: how many at most.

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
    found: list[tuple[int, int, int]] = []
    for peak, first, last, base in zip(
        peaks.tolist(),
        np.maximum(bounds[stretch], peaks - REACH).tolist(),
        np.minimum(bounds[stretch + 1], peaks + REACH + 1).tolist(),
        bases[stretch].tolist(),
        strict=True,
    ):
        if len(found) == count:
            break
        if taken[peak]:
            continue
        outside = taken[first:last] | (scores[first:last] < (scores[peak] + base) / 2)
        outside[peak - first] = False  # where the base is above the peak
        before, after = outside[: peak - first], outside[peak - first :]
        start = peak - int(before[::-1].argmax()) if before.any() else first
        stop = peak + int(after.argmax()) if after.any() else last
        taken[start:stop] = True
        found.append((peak, start, stop))
    return Moments(*np.array(found, int).reshape(-1, 3).T)


def _local_maxima(scores: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Places with no higher score beside them in their stretch; of equal ones the first."""
    rises, falls = np.ones(len(scores), bool), np.ones(len(scores), bool)
    rises[1:] = scores[1:] > scores[:-1]
    falls[:-1] = scores[:-1] >= scores[1:]
    rises[bounds[:-1]] = True
    falls[bounds[1:] - 1] = True
    return np.flatnonzero(rises & falls)
