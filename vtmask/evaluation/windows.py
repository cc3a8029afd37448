"""Overlapping windows over videos longer than the model's input, in NumPy.

As published for COIN and CrossTask, whose windows have 32 features and start every 16 features.
"""

import numpy as np


def starts(length: int, size: int, stride: int) -> np.ndarray:
    """Returns the starts of a video's windows, one every `stride` until one reaches the end.

    A window has `min(size, length - start)` features, so the last may be shorter.

    Args:
      length: features of the video.
      size: features of a window.
      stride: features from one start to the next.

    Returns:
      int [windows]; a single window if the video fits into it.

    Raises:
      ValueError: there are no features, or the windows would leave some out.
    """
    if length < 1 or not 1 <= stride <= size:
        raise ValueError(
            f"expected length >= 1 and 1 <= stride <= size, got {length}, {stride}, {size}"
        )
    return np.arange(0, max(length - size, 0) + stride, stride)


def merge(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Merges values of windows into values of the video; takes the mean where windows overlap.

    As published, logits are averaged before any softmax, and all windows have equal weight.

    Args:
      values: [windows, size, C]; values beyond a window's length are ignored.
      starts: int [windows].
      lengths: number of features in each window, int [windows], at most `size`.

    Returns:
      [length, C], up to the end of the last window, with the dtype of `values`.

    Raises:
      ValueError: a feature is in no window.
    """
    inside = np.arange(values.shape[1]) < lengths[:, None]
    feature = (starts[:, None] + np.arange(values.shape[1]))[inside]
    windows = np.bincount(feature)
    if not windows.all():
        raise ValueError(f"feature {np.argmin(windows)} is in no window")
    total = np.zeros((len(windows), values.shape[2]), values.dtype)
    np.add.at(total, feature, values[inside])
    return total / windows[:, None].astype(values.dtype)
