"""Rows are grouped by a column, in order and a bucket at a time, and no file stays on disk."""

from pathlib import Path

import numpy as np
import pyarrow
import pytest

from vtmask.datasets.grouping import BUCKETS, Groups


def batches(rows: list[tuple[str, str, str]], size: int) -> list[pyarrow.RecordBatch]:
    table = pyarrow.Table.from_pylist([dict(zip("abc", row, strict=True)) for row in rows])
    return table.to_batches(max_chunksize=size)


@pytest.mark.parametrize("size", [7, 1000])
def test_rows_are_grouped_in_order(size: int) -> None:
    rng = np.random.default_rng(0)
    names, parts = rng.integers(300, size=1000), rng.choice(["x", "y"], 1000)
    rows = [
        (f"video{name}", str(part), str(number))
        for number, (name, part) in enumerate(zip(names, parts, strict=True))
    ]
    groups = Groups(batches(rows, size), "a", "b")
    assert sorted(groups.values) == ["x", "y"]
    for part in "xy":
        actual = list(groups.read(part))
        expected: dict[str, list[str]] = {}
        for name, _, number in (row for row in rows if row[1] == part):
            expected.setdefault(name, []).append(number)
        assert len(actual) == len(expected)
        assert {name: [row["c"] for row in some] for name, some in actual} == expected
    assert dict(groups.read("x")) == dict(groups.read("x"))


def test_without_a_column_of_values_there_is_one_value() -> None:
    groups = Groups(batches([("v", "x", "1"), ("v", "y", "2")], 9), "a")
    assert groups.values == ("",)
    assert list(groups.read("")) == [
        ("v", [{"a": "v", "b": "x", "c": "1"}, {"a": "v", "b": "y", "c": "2"}])
    ]


def test_the_files_are_deleted_with_the_groups() -> None:
    rows = [(str(number), "", "") for number in range(1000)]
    groups = Groups(batches(rows, 100), "a")
    folder = Path(groups._folder.name)
    assert len(list(folder.iterdir())) == BUCKETS
    del groups
    assert not folder.exists()
