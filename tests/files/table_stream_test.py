"""Tables are read as text, in batches. If a file can't be read completely, the error names it."""

from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from vtmask.errors import UserError
from vtmask.files import table_stream


def read(path: Path, *columns: str) -> list[Any]:
    return [row for batch in table_stream.read(path, columns) for row in batch.to_pylist()]


def test_values_are_read_as_text(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "x": 0.1, "on": True, "tags": ["é", "b"], "raw": b"a"},
        {"id": None, "x": None, "on": None, "tags": None, "raw": None},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    actual = read(tmp_path / "t.parquet", "tags", "id", "x", "on")
    assert actual[0] == {"tags": '["é", "b"]', "id": "7", "x": "0.1", "on": "true"}
    assert set(actual[1].values()) == {""}


def test_tables_longer_than_a_batch_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_stream, "_ROWS", 3)
    numbers = [str(number) for number in range(10)]
    table = pyarrow.table({"n": list(range(10)), "m": numbers})
    parquet.write_table(table, tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("m,n\n" + "".join(f"{n},{n}\n" for n in numbers))
    (tmp_path / "t.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in numbers))
    for suffix in ("parquet", "csv", "jsonl"):
        assert [row["n"] for row in read(tmp_path / f"t.{suffix}", "n")] == numbers


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_file_is_read(tmp_path: Path, delimiter: str) -> None:
    lines = ["\ufeffid,text,n", 'a,"one; ""two""\nthree",1', "", "b,,2"]
    text = "\r\n".join(line.replace(",", delimiter) for line in lines)
    (tmp_path / "t.csv").write_text(text.replace("one; ", "one, "), encoding="utf-8", newline="")
    actual = read(tmp_path / "t.csv", "text", "id")
    assert actual == [{"text": 'one, "two"\nthree', "id": "a"}, {"text": "", "id": "b"}]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'id,text\na,"open\nb,x\nc,y\n', "line 4: unexpected end of data"),
        (b'id,text\na,"o"pen\n', "line 2: ',' expected after '\"'"),
        (b"id,text\na\n", "line 2: has 1 fields, expected 2"),
        (b"id,text\na,b,c\n", "line 2: has 3 fields, expected 2"),
        (b"id,text\na,\xff\n", "is not UTF-8"),
        (b"id;name\na;b\n", "has no column 'text'; it has 'id', 'name'"),
        (b"", "has no column 'id', 'text'; it has "),
    ],
)
def test_a_malformed_csv_file_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=f"^{tmp_path}/t.csv: {problem}"):
        read(tmp_path / "t.csv", "id", "text")


def test_a_line_that_is_no_row_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"id": "a"}\n["b"]\n')
    with pytest.raises(UserError, match="t.jsonl: line 2: is list, expected a row"):
        read(tmp_path / "t.jsonl", "id")
