"""JSON objects are read member by member, with the values and errors of `json`."""

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import mutation
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vtmask.errors import UserError
from vtmask.files import json_stream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
every_example = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(folder: Path, text: str) -> Path:
    path = folder / "file.json"
    path.write_text(text, encoding="utf-8")
    return path


@every_example
@given(
    st.dictionaries(st.text(), VALUES),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.integers(1, 40),
)
def test_members_equal_those_of_json(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: dict[str, Any],
    indent: int | None,
    ascii_alone: bool,
    chunk: int,
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    path = written(tmp_path, f"\n {json.dumps(value, indent=indent, ensure_ascii=ascii_alone)} \n")
    assert list(json_stream.members(path)) == list(value.items())


def test_deviations_from_json_in_caption_files_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, '\ufeff{"a": [NaN, null], "b": 12, "a": -Infinity}')
    (a, (nan, null)), b, c = json_stream.members(path)
    assert a == "a" and nan != nan and null is None
    assert [b, c] == [("b", 12), ("a", float("-inf"))]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "character 0: is the end of the file, expected {"),
        ("[1]", "character 0: is '[', expected {"),
        ('{"a": 1', "character 7: is the end of the file, expected , or }"),
        ('{"a": 1,}', "character 8: is '}', expected a name in quotes"),
        ('{"a": 1, 2: 3}', "character 9: is '2', expected a name in quotes"),
        ('{"a" 1}', "character 5: is '1', expected :"),
        ('{"a": [1, 2', "character 11: not JSON: "),
        ('{"a": [1 2]}', "character 9: not JSON: "),
        ('{"a": "never closed', "character 6: not JSON: "),
        ('{"a": 1} {', "character 9: is '{', expected the end of the file"),
        (f'{{"a": {"1" * 5000}}}', "character 6: a number with too many digits"),
        (f'{{"a": {"[" * 100_000}', "character 6: lists or objects nested too deep"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_malformed_texts_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, problem: str, chunk: int
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=f"^{re.escape(f'{path}: {problem}')}"):
        list(json_stream.members(path))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    with pytest.raises(UserError, match="file.json: cannot be read: No such file"):
        list(json_stream.members(path))
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(UserError, match="file.json: character 0: not UTF-8"):
        list(json_stream.members(path))


def test_damaged_files(tmp_path: Path) -> None:
    data = json.dumps({"é": {"start": [0.5], "text": ["x"]}, "b": None}, ensure_ascii=False)
    path = tmp_path / "file.json"
    assert mutation.refusals(data.encode(), path, lambda p: list(json_stream.members(p)), 300)


def test_memory_is_bounded_by_one_value(tmp_path: Path) -> None:
    value = {"text": ["said in this video"] * 100}
    path = written(tmp_path, json.dumps({str(i): value for i in range(10_000)}))
    assert path.stat().st_size > 20e6
    tracemalloc.start()
    count = sum(1 for _ in json_stream.members(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 10_000 and peak < 8e6


def test_a_value_that_does_not_end_is_not_read_completely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 10)
    monkeypatch.setattr(json_stream, "_LONGEST", 100)
    path = written(tmp_path, '{"a": "' + 10_000 * "x" + '"}')
    with pytest.raises(UserError, match="character 6: not JSON: Unterminated string"):
        list(json_stream.members(path))
