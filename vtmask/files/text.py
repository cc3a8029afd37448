"""Text and JSON files, and the fields of their records."""

import json
import re
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path
from typing import Any

from vtmask.errors import UserError, reason

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def read_text(path: str | Path) -> str:
    """Reads a text file: UTF-8, with or without a byte-order mark, or UTF-16 with one."""
    data = read_bytes(path)
    encoding = "utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8"
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} is not {encoding.upper()}; save the file as UTF-8"
        ) from error


def read_lines(path: str | Path) -> list[str]:
    """Reads the lines that are not blank, stripped of surrounding white space."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def read_json(path: str | Path) -> Any:
    """Reads a JSON file; NaN and Infinity are accepted here and rejected by `field`."""
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
    """Returns the record's field after a check of its type.

    Args:
      record: the value from JSON or a pickle that should be a dict.
      kind: the expected type or types. `float` also accepts integers and, on its own, returns a
        float. A bool is not a number.
      where: file and record, for the error.

    Raises:
      UserError: the field is missing or of another type, a number is not finite, or text has half
        of a surrogate pair, which no file can hold.
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
        raise UserError(f"{where}: field {name!r} has half of a surrogate pair; fix the text")
    if isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max:
        raise UserError(f"{where}: field {name!r} is not a finite number; fix it")
    return float(value) if kind is float else value


def is_unicode(text: str) -> bool:
    """Whether the text can be encoded; half a surrogate pair, from a JSON escape, can't be."""
    return not _HALF_CHARACTER.search(text)


def read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
