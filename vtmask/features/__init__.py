"""Extracts features from video files: one vector for each window of a video."""

from vtmask.features.decode import windows
from vtmask.features.extractors import FeatureExtractor, create, extract
from vtmask.features.window import Window

__all__ = ["FeatureExtractor", "Window", "create", "extract", "windows"]
