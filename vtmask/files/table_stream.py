"""Reads tables that don't fit into memory, in batches of rows: Parquet, CSV, JSON Lines.

All values become text: a number is formatted, a list or an object becomes JSON, and a missing value
is "". Needs pyarrow, the optional extra `manifest`.
"""

import contextlib
import csv
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtmask.errors import UserError, reason
from vtmask.files import json_lines

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")
_ROWS = 2**15  # per batch
_DELIMITERS = (",", ";", "\t")


def read(path: Path, columns: Sequence[str]) -> Iterator["pyarrow.RecordBatch"]:
    """Yields the given columns of a table as text, in batches of rows.

    Raises:
      UserError: pyarrow is not installed, or the file can't be read, is damaged or lacks a column.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise UserError(
            f"{path}: pyarrow, which reads tables, is not installed; pip install -e '.[manifest]'"
        ) from error
    try:
        yield from _READERS[path.suffix](path, list(columns))
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error


def _parquet(path: Path, columns: list[str]) -> Iterator["pyarrow.RecordBatch"]:
    import pyarrow
    from pyarrow import parquet

    with contextlib.closing(parquet.ParquetFile(path)) as file:
        _require(path, columns, file.schema_arrow.names)
        for batch in file.iter_batches(_ROWS, columns=columns):
            texts = [_texts(batch.column(name)) for name in columns]
            yield pyarrow.RecordBatch.from_arrays(texts, columns)


def _csv(path: Path, columns: list[str]) -> Iterator["pyarrow.RecordBatch"]:
    # Not pyarrow's reader, which takes everything after an unclosed quote as one value.
    import pyarrow

    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            first = file.readline()
            names = {d: next(csv.reader([first], delimiter=d), []) for d in _DELIMITERS}
            fitting = [d for d in _DELIMITERS if set(columns) <= set(names[d])]
            if not fitting:
                _require(path, columns, max(names.values(), key=len))
            header = names[fitting[0]]
            places = [header.index(name) for name in columns]
            rows = csv.reader(file, delimiter=fitting[0], strict=True)
            numbered = ((rows.line_num + 1, row) for row in rows)  # below the header
            while some := list(islice(numbered, _ROWS)):
                some = [(line, row) for line, row in some if row]  # a blank line has no fields
                for line, row in some:
                    if len(row) != len(header):
                        raise UserError(
                            f"{path}: line {line}: has {len(row)} fields, expected {len(header)}"
                        )
                texts = [pyarrow.array([row[i] for _, row in some], "str") for i in places]
                yield pyarrow.RecordBatch.from_arrays(texts, columns)
        except csv.Error as error:
            raise UserError(f"{path}: line {rows.line_num + 1}: {error}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: is not UTF-8 ({reason(error)}); save it as UTF-8") from error


def _json_lines(path: Path, columns: list[str]) -> Iterator["pyarrow.RecordBatch"]:
    import pyarrow

    lines = json_lines.read(path)
    schema = pyarrow.schema([(name, pyarrow.string()) for name in columns])
    while some := list(islice(lines, _ROWS)):
        for number, row in some:
            if not isinstance(row, dict):
                raise UserError(f"{path}: line {number}: is {type(row).__name__}, expected a row")
        texts = [{name: _text(row.get(name)) for name in columns} for _, row in some]
        yield pyarrow.RecordBatch.from_pylist(texts, schema)


def _require(path: Path, columns: list[str], existing: list[str]) -> None:
    missing = [name for name in columns if name not in existing]
    if missing:
        raise UserError(
            f"{path}: has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, existing))}"
        )


def _texts(column: Any) -> Any:
    import pyarrow

    if pyarrow.types.is_nested(column.type) or pyarrow.types.is_binary(column.type):
        return pyarrow.array([_text(value) for value in column.to_pylist()], pyarrow.string())
    return column.cast(pyarrow.string()).fill_null("")


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


_READERS = {".parquet": _parquet, ".csv": _csv, ".tsv": _csv, ".jsonl": _json_lines}
