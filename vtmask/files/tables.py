"""Reads tables: CSV files delimited by commas, semicolons or tabs."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vtmask.errors import UserError
from vtmask.files.text import read_text

_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Row:
    """A row of a table: the line it starts on, and column → field."""

    line: int
    fields: dict[str, str]


def read_csv(path: str | Path, columns: Sequence[str], header: bool = True) -> list[Row]:
    """Reads the rows of a table delimited by commas, semicolons or tabs.

    Args:
      columns: with a header, the columns that the table must have, in any order; it may have
        others, which the rows include. Without a header, the names of all columns from left to
        right.

    Raises:
      UserError: a column is missing or doubled, a row has more or fewer fields than the first, or a
        quote is not closed.
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
    """Finds the delimiter with which the first row has the columns, and all columns' names."""
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
        return []  # the quoting does not fit this delimiter


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the rows that are not blank, each with the line it starts on."""
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
