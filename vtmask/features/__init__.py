"""Video files to one feature vector a second."""

from vtmask.features.decode import Window, windows
from vtmask.features.extractors import FeatureExtractor, create, extract

__all__ = ["FeatureExtractor", "Window", "create", "extract", "windows"]
