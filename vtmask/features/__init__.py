"""Video files to features, a vector for each window of a video."""

from vtmask.features.decode import Window, windows
from vtmask.features.extractors import FeatureExtractor, create, extract

__all__ = ["FeatureExtractor", "Window", "create", "extract", "windows"]
