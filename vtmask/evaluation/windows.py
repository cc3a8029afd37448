"""Videos longer than the model sees, in sliding windows that overlap; in NumPy.

As published for COIN and CrossTask, where windows have 32 features and start every 16.
"""

import numpy as np


def starts(length: int, size: int, stride: int) -> np.ndarray:
    """Where the windows over a video start: at 0 and every `stride`, until one reaches the end.

    The last window is shorter where the video ends in it: a window has
    `min(size, length - start)` features.

    Args:
      length: features of the video.
      size: features of a window.
      stride: features from one start to the next.

    Returns:
      int [windows]; one window where the video is no longer than it.

    Raises:
      ValueError: there are no features, or windows would leave some out.
    """
    if length < 1 or not 1 <= stride <= size:
        raise ValueError(
            f"expected length >= 1 and 1 <= stride <= size, got {length}, {stride}, {size}"
        )
    return np.arange(0, max(length - size, 0) + stride, stride)


def merge(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The values of a video from those of its windows: their mean where windows overlap.

    Published: the logits are averaged, each window with the same weight, before any softmax.

    Args:
      values: [windows, size, C]; what a window has beyond its length is ignored.
      starts: int [windows].
      lengths: int [windows], at most `size`: features in each window.

    Returns:
      [length, C], up to the end of the last window, of the type of `values`.

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
