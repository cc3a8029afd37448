"""Feature extractors: one-second windows of frames to one vector each."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from vtmask.errors import UserError
from vtmask.features.pixel_statistics import PixelStatistics


class FeatureExtractor(Protocol):
    """Maps one-second windows of frames to unit-norm vectors.

    Attributes:
      name: identifies the features; it travels with data and checkpoints, which must agree in it.
      size: length of a vector.
      frame_rate: frames a second it wants.
      image_size: height and width in pixels that it wants.
    """

    name: str
    size: int
    frame_rate: int
    image_size: int

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 [seconds, frame_rate, image_size, image_size, 3] to float [seconds, size]."""


EXTRACTORS: dict[str, Callable[[], FeatureExtractor]] = {PixelStatistics.name: PixelStatistics}


def create(name: str) -> FeatureExtractor:
    """The extractor of this name; UserError where there is none."""
    if name not in EXTRACTORS:
        raise UserError(f"unknown feature extractor {name!r}; known are: {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name]()
