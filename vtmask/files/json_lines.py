"""JSON Lines: files with one JSON value per line, read one line at a time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vtmask.errors import UserError, reason


def read(path: str | Path) -> Iterator[tuple[int, Any]]:
    """Yields the number, from 1, and the value of each line that is not blank.

    NaN and Infinity are accepted, as in `vtmask.files.read_json`.

    Raises:
      UserError: the file can't be read, or a line is not UTF-8 or not JSON; the message names the
        line.
    """
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    yield number, _value(text, f"{path}: line {number}")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error


def _value(line: bytes, where: str) -> Any:
    try:
        return json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{where} column {error.colno}: not JSON: {error.msg}") from error
    except ValueError as error:
        raise UserError(f"{where}: holds a number with too many digits") from error
    except RecursionError as error:
        raise UserError(f"{where}: lists or objects are nested too deep") from error
