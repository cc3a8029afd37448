"""Reads annotations in ActivityNet's layout, which YouCook2 and COIN share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtmask import files
from vtmask.errors import UserError, check_choice


def read(path: str | Path) -> dict[str, Any]:
    """The records of the file's `database`, by video id."""
    return files.field(files.read_json(path), "database", dict, str(path))


def split_of(record: Any, splits: Mapping[str, str], where: str) -> str:
    """Returns the split that the record's `subset` maps to.

    Args:
      splits: the annotations' `subset` → our split.
      where: file and video, for the error.

    Raises:
      UserError: the subset is missing or unknown.
    """
    subset = files.field(record, "subset", str, where)
    check_choice(f"{where}: field 'subset'", subset, splits)
    return splits[subset]


def segment(annotation: Any, where: str) -> tuple[float, float]:
    """The annotation's start and end in seconds, not necessarily in this order.

    Args:
      where: file and annotation, for the error.

    Raises:
      UserError: the annotation's `segment` is not two finite numbers.
    """
    times = files.field(annotation, "segment", list, where)
    if len(times) != 2:
        raise UserError(f"{where}: field 'segment' has {len(times)} items, expected start and end")
    start, end = (files.field({"segment": time}, "segment", float, where) for time in times)
    return start, end
