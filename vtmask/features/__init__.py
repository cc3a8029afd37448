"""Video files to one feature vector a second."""

from vtmask.features.decode import extract, windows
from vtmask.features.extractors import FeatureExtractor, create

__all__ = ["FeatureExtractor", "create", "extract", "windows"]
