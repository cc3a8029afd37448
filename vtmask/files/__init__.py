"""Reads foreign files as data. Every failure is a UserError that names the file and the place."""

from vtmask.files.arrays import map_array, read_array
from vtmask.files.features import CARD, FeatureCard, card_of, check_features
from vtmask.files.pickles import read_pickle
from vtmask.files.tables import Row, read_csv
from vtmask.files.text import field, is_unicode, read_json, read_lines, read_text

__all__ = [
    "CARD",
    "FeatureCard",
    "Row",
    "card_of",
    "check_features",
    "field",
    "is_unicode",
    "map_array",
    "read_array",
    "read_csv",
    "read_json",
    "read_lines",
    "read_pickle",
    "read_text",
]
