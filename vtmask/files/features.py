"""Feature files, and the card that records what made them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtmask.errors import UserError
from vtmask.files.text import field, read_json

CARD = "features.json"  # in a folder of features; records what made them


@dataclass(frozen=True)
class FeatureCard:
    """The record of `vtmask extract` about features, and its file."""

    path: Path
    feature_extractor: str
    seconds_per_feature: float


def card_of(path: Path) -> FeatureCard | None:
    """Reads the card of a `.npy` file from the nearest folder above it; None if none has one."""
    for folder in path.absolute().parents:
        card = folder / CARD
        if card.exists():
            record, where = read_json(card), str(card)
            return FeatureCard(
                card,
                field(record, "feature_extractor", str, where),
                field(record, "seconds_per_feature", float, where),
            )
    return None


def check_features(where: str, values: np.ndarray, size: int) -> np.ndarray:
    """Returns features as records hold them: float16 [rows, size], C-contiguous.

    Args:
      where: file and video, for the error.
      values: floats [rows, size].

    Raises:
      UserError: the shape or type is wrong, there are no rows, or a value is not finite or out of
        float16's range.
    """
    if values.ndim != 2 or values.shape[1] != size or not len(values):
        raise UserError(
            f"{where}: features have shape {values.shape}, expected [rows, {size}] and at "
            "least one row"
        )
    if values.dtype.kind != "f":
        raise UserError(f"{where}: features are {values.dtype}, expected floats")
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(values, np.float16)
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        finite = np.isfinite(values[row]).all()
        problem = f"beyond {np.finfo(np.float16).max}, float16's limit" if finite else "not finite"
        raise UserError(f"{where}: features of row {row} are {problem}; extract them again")
    return features
