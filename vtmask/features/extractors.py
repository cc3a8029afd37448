"""Feature extractors: windows of frames to one vector each."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from vtmask.errors import UserError
from vtmask.features.decode import Window, windows
from vtmask.features.pixel_statistics import PixelStatistics

_WINDOWS_PER_CALL = 2  # few enough that PixelStatistics stays in the processor's cache


class FeatureExtractor(Protocol):
    """Maps windows of frames to unit-norm vectors.

    Attributes:
      name: identifies the features; it travels with data and checkpoints, which must agree in it.
      size: length of a vector.
      window: what it wants to see of a video.
    """

    name: str
    size: int
    window: Window

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 [windows, frames, image_size, image_size, 3] to float [windows, size]."""


EXTRACTORS: dict[str, Callable[[], FeatureExtractor]] = {PixelStatistics.name: PixelStatistics}


def create(name: str) -> FeatureExtractor:
    """The extractor of this name; UserError where there is none."""
    if name not in EXTRACTORS:
        raise UserError(f"unknown feature extractor {name!r}; known are: {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name]()


def extract(path: str | Path, extractor: FeatureExtractor) -> np.ndarray:
    """The features of a video file, float16 [windows, extractor.size], one row a window.

    Raises:
      UserError: the file cannot be decoded, holds no frames, or its features are not finite.
    """
    seen = windows(path, extractor.window)
    blocks = []
    while block := list(islice(seen, _WINDOWS_PER_CALL)):
        blocks.append(extractor(np.stack(block)).astype(np.float16))
    if not blocks:
        raise UserError(f"{path}: no video frames in it; remove it from the list or replace it")
    features = np.concatenate(blocks)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        raise UserError(f"{path}: {extractor.name} features of window {bad[0]} are not finite")
    return features
