"""Reads a JSON file that does not fit into memory.

The library ijson does so too, but it rejects NaN, which HowTo100M's captions contain, and its
memory for deeply nested lists is unbounded.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from vtmask.errors import UserError, reason

_CHUNK = 2**20  # characters
_LONGEST = 2**26  # characters of a value; a broken file is not read to its end
_NO_SPACE = re.compile(r"[^ \t\n\r]")
_DECODER = json.JSONDecoder()


def members(path: str | Path) -> Iterator[tuple[str, Any]]:
    """Yields the names and values of a file's single JSON object, in file order.

    No more than one value and a mebibyte of the file are in memory at a time. NaN and Infinity are
    accepted, as in `vtmask.files.read_json`. A repeated name is yielded each time.

    Raises:
      UserError: the file is not UTF-8 or not a JSON object; the message gives the character.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from _members(_Text(path, file))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error


def _members(text: "_Text") -> Iterator[tuple[str, Any]]:
    text.take("{")
    going_on = text.peek() != "}"
    if not going_on:
        text.take("}")
    while going_on:
        if text.peek() != '"':
            raise text.unexpected("a name in quotes")
        name = text.value()
        text.take(":")
        yield name, text.value()
        going_on = text.take(",}") == ","
    if text.peek():
        raise text.unexpected("the end of the file")


class _Text:
    """The part of a file that has been read but not yet parsed."""

    def __init__(self, path: str | Path, file: TextIO):
        self._path, self._file = path, file
        self._read = ""
        self._at = 0  # position in what has been read
        self._before = 0  # characters dropped before that

    def peek(self) -> str:
        """Returns the next character that is not white space, or "" at the end."""
        while True:
            match = _NO_SPACE.search(self._read, self._at)
            self._at = match.start() if match else len(self._read)
            if match or not self._read_on():
                return match[0] if match else ""

    def take(self, expected: str) -> str:
        """Consumes the next character, which must be one of those expected."""
        character = self.peek()
        if not character or character not in expected:
            raise self.unexpected(" or ".join(expected))
        self._at += 1
        return character

    def value(self) -> Any:
        """Consumes the next JSON value."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._read, self._at)
                # The 1 of "1e+5" parses as a number of its own until the digit after "e+" is read.
                if end + 2 < len(self._read) or not self._read_on():
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                if len(self._read) - self._at > _LONGEST or not self._read_on():
                    raise self._error(error.pos, f"not JSON: {error.msg}") from error
            except ValueError as error:
                raise self._error(self._at, "a number with too many digits") from error
            except RecursionError as error:
                raise self._error(self._at, "lists or objects nested too deep") from error

    def unexpected(self, expected: str) -> UserError:
        actual = repr(self._read[self._at]) if self._at < len(self._read) else "the end of the file"
        return self._error(self._at, f"is {actual}, expected {expected}")

    def _read_on(self) -> bool:
        """Reads at least as much as is left, so that a long value is not parsed too often."""
        left = self._read[self._at :]
        try:
            more = self._file.read(max(_CHUNK, len(left)))
        except UnicodeDecodeError as error:
            problem = "not UTF-8 here or a little further on; save the file as UTF-8"
            raise self._error(len(self._read), problem) from error
        if more:
            self._before += self._at
            self._read, self._at = left + more, 0
        return bool(more)

    def _error(self, at: int, problem: str) -> UserError:
        return UserError(f"{self._path}: character {self._before + at}: {problem}")
