"""Reads files that others made: every failure is a UserError that names the file and the place."""

import csv
import io
import json
import re
import sys
import tokenize
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtmask.building import pickles
from vtmask.errors import UserError, reason

CARD = "features.json"  # in a folder of features, says what made them
_DELIMITERS = (",", ";", "\t")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Row:
    """A row of a table: the line of the file that it starts on, and its fields by column."""

    line: int
    fields: dict[str, str]


def read_text(path: str | Path) -> str:
    """The file's text: UTF-8, with or without a byte-order mark, or UTF-16 with one."""
    data = _read_bytes(path)
    encoding = "utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8"
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} is not {encoding.upper()}; save the file as UTF-8"
        ) from error


def read_lines(path: str | Path) -> list[str]:
    """The lines that are not blank, without the spaces around them."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def read_json(path: str | Path) -> Any:
    """The file's JSON value; NaN and Infinity are read, and refused by `field`."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: line {error.lineno} column {error.colno}: not JSON: {error.msg}"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: holds a number with too many digits") from error
    except RecursionError as error:
        raise UserError(f"{path}: lists or objects are nested too deep") from error


def field(record: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """The record's field, if it is of the kind.

    Args:
      record: what should be a dict, as JSON and pickles have it.
      kind: its type, or several. `float` takes integers too and, alone, gives a float; a bool
        is no number.
      where: file and record, for the error.

    Raises:
      UserError: no such field, another type, a number that is not finite, or text with half of a
        surrogate pair, which no file can hold.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    expected = " or ".join("number" if k is float else k.__name__ for k in kinds)
    if not isinstance(record, dict):
        raise UserError(
            f"{where}: is {type(record).__name__}, expected an object with the field {name!r}"
        )
    if name not in record:
        raise UserError(f"{where}: has no field {name!r}; expected {expected}")
    value = record[name]
    accepted = (*kinds, int) if float in kinds else kinds
    fits = isinstance(value, accepted) and (bool in kinds or not isinstance(value, bool))
    if not fits:
        raise UserError(f"{where}: field {name!r} is {type(value).__name__}, expected {expected}")
    if isinstance(value, str) and not is_unicode(value):
        raise UserError(f"{where}: field {name!r} has half of a surrogate pair; mend the text")
    if isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max:
        raise UserError(f"{where}: field {name!r} is no finite number; mend it")
    return float(value) if kind is float else value


@dataclass(frozen=True)
class Card:
    """What `vtmask extract` tells of features, and in which file."""

    path: Path
    feature_extractor: str
    seconds_per_feature: float


def card_of(path: Path) -> Card | None:
    """That of a `.npy` file, from the nearest folder above it that has one; None where none has."""
    for folder in path.absolute().parents:
        card = folder / CARD
        if card.exists():
            found, where = read_json(card), str(card)
            return Card(
                card,
                field(found, "feature_extractor", str, where),
                field(found, "seconds_per_feature", float, where),
            )
    return None


def is_unicode(text: str) -> bool:
    """Whether the text can be written: not so where JSON escapes give half a surrogate pair."""
    return not _HALF_CHARACTER.search(text)


def read_csv(path: str | Path, columns: Sequence[str], header: bool = True) -> list[Row]:
    """The rows of a table whose delimiter is a comma, a semicolon or a tab.

    Args:
      columns: with a header, those it must have, in any order and among others; the rows have all
        of them. Without one, the names of all columns from left to right.

    Raises:
      UserError: a missing or doubled column, a row with more or fewer fields than the first, an
        open quote.
    """
    text = read_text(path)
    if not text.strip():
        if header:
            raise UserError(f"{path}: is empty, expected a header with {_listed(columns)}")
        return []
    delimiter, names = _layout(path, text, columns, header)
    rows = []
    try:
        for line, fields in _rows(text, delimiter):
            if len(fields) != len(names):
                raise UserError(
                    f"{path}: line {line}: has {len(fields)} fields, expected {len(names)}"
                )
            rows.append(Row(line, dict(zip(names, fields, strict=True))))
    except csv.Error as error:
        raise UserError(f"{path}: {error}") from error
    return rows[1:] if header else rows


def _layout(
    path: str | Path, text: str, columns: Sequence[str], header: bool
) -> tuple[str, list[str]]:
    """The delimiter with which the first row has the columns, and the names of all columns."""
    firsts = {delimiter: _first_row(text, delimiter) for delimiter in _DELIMITERS}
    widest = max(firsts.values(), key=len)
    if header:
        fitting = [d for d, names in firsts.items() if set(columns) <= set(names)]
        missing = [name for name in columns if name not in widest]
        problem = f"has no column {_listed(missing)}; its columns are {_listed(widest)}"
    else:
        fitting = [d for d, fields in firsts.items() if len(fields) == len(columns)]
        problem = f"has {len(widest)} fields, expected {len(columns)}: {_listed(columns)}"
    if not widest:
        raise UserError(f"{path}: the first row has an open quote or text after a closed one")
    if not fitting:
        raise UserError(f"{path}: the first row {problem}")
    names = firsts[fitting[0]] if header else list(columns)
    doubled = [name for name in columns if names.count(name) > 1]
    if doubled:
        raise UserError(f"{path}: the first row has column {_listed(doubled)} twice")
    return fitting[0], names


def _first_row(text: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(_rows(text, delimiter))[1]]
    except (csv.Error, StopIteration):
        return []  # another delimiter's quotes


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line it starts on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for fields in reader:
            if fields and (len(fields) > 1 or fields[0].strip()):
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"line {line}: {error}") from error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def read_pickle(path: str | Path) -> Any:
    """The pickle's value: plain data and NumPy arrays of numbers or strings, and nothing else.

    `vtmask.building.pickles.load` says what that is. It cannot execute anything.
    """
    try:
        return pickles.load(_read_bytes(path))
    except pickles.BadPickle as error:
        raise UserError(f"{path}: {error}") from error


def read_array(path: str | Path) -> np.ndarray:
    """The array of a `.npy` file; pickled objects are refused."""
    # A map refuses a file that is shorter than its header says before any memory is taken.
    mapped = map_array(path)
    try:
        return np.array(mapped)
    except MemoryError as error:
        raise UserError(f"{path}: does not fit into memory: {reason(error)}") from error


def map_array(path: str | Path) -> np.ndarray:
    """The same, read-only; of the file only what is used of the array gets read."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    except (
        ArithmeticError,
        LookupError,
        MemoryError,
        RecursionError,
        SyntaxError,
        TypeError,
        ValueError,
        tokenize.TokenError,
    ) as error:
        raise UserError(f"{path}: is not a whole .npy file of numbers: {reason(error)}") from error


def check_features(where: str, values: np.ndarray, size: int) -> np.ndarray:
    """Features as records hold them: float16 [rows, size], C-contiguous.

    Args:
      where: file and video, for the error.
      values: floats [rows, size].

    Raises:
      UserError: another shape or type, no rows, values that are not finite or beyond float16.
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


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
