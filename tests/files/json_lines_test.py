"""JSON Lines hold one value per line, and errors name the line."""

from pathlib import Path

import pytest

from vtmask.errors import UserError
from vtmask.files import json_lines


def test_values_have_the_numbers_of_their_lines(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n["\xc3\xa9"]\n3')
    assert list(json_lines.read(tmp_path / "x.jsonl")) == [(1, {"a": 1}), (4, ["é"]), (5, 3)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a": }', "line 2 column 7: not JSON"),
        (b'"\xff"', "line 2: byte 1 is not UTF-8"),
        (b"[" * 100_000, "line 2: lists or objects are nested too deep"),
        (b"9" * 5000, "line 2: holds a number with too many digits"),
    ],
)
def test_a_bad_line_is_refused(tmp_path: Path, line: bytes, problem: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"1\n" + line)
    lines = json_lines.read(tmp_path / "x.jsonl")
    assert next(lines) == (1, 1)
    with pytest.raises(UserError, match=f"^{tmp_path}/x.jsonl: {problem}"):
        next(lines)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="x.jsonl: cannot be read: No such file"):
        list(json_lines.read(tmp_path / "x.jsonl"))
