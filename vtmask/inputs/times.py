"""Times of texts, counted in features."""

from collections.abc import Callable
from typing import Any


def in_features(seconds: Any, seconds_per_feature: float, round: Callable[[Any], Any]) -> Any:
    """Converts seconds to features: 3.5 is the middle of feature 3.

    Unless a feature lasts one second, times are rounded to 1/1024 of a feature. Otherwise the
    division could put a time at a feature's edge on either side of it.

    Args:
      seconds: a NumPy array or TensorFlow tensor.
      round: the same library's function, which rounds half to even.
    """
    if seconds_per_feature == 1:
        return seconds
    return round(seconds / seconds_per_feature * 1024) / 1024
