import json
from pathlib import Path
from typing import Any

import pytest

from vtmask.errors import UserError
from vtmask.files import activitynet

SPLITS = {"training": "train", "testing": "test"}


def test_a_database_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"database": {"v": {"subset": "testing"}}, "version": 1}))
    database = activitynet.read(path)
    assert database == {"v": {"subset": "testing"}}
    assert activitynet.split_of(database["v"], SPLITS, "v") == "test"


@pytest.mark.parametrize("text", ["[]", "{}", '{"database": []}', "{"])
def test_a_file_without_a_database_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match="a.json: "):
        activitynet.read(path)


@pytest.mark.parametrize("record", [{"subset": "validation"}, {"subset": 1}, {}, None])
def test_a_record_without_a_split_is_refused(record: Any) -> None:
    with pytest.raises(UserError, match="^a.json: video v: "):
        activitynet.split_of(record, SPLITS, "a.json: video v")


def test_a_segment_is_read() -> None:
    assert activitynet.segment({"segment": [3, 1.5]}, "here") == (3.0, 1.5)


@pytest.mark.parametrize(
    "segment", [[1], [1, 2, 3], [1, "2"], [None, 2], [1, float("nan")], [float("inf"), 2], 5]
)
def test_a_malformed_segment_is_refused(segment: Any) -> None:
    with pytest.raises(UserError, match="^here: field 'segment' "):
        activitynet.segment({"segment": segment}, "here")
