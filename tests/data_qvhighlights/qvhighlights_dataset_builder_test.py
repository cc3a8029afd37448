import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.qvhighlights.qvhighlights_dataset_builder import Builder
from vtmask.datasets.entries import Skipped, Video
from vtmask.errors import UserError
from vtmask.inputs.dataset import Dataset


def query(qid: int, vid: str, text: str, *windows: list[float]) -> dict[str, Any]:
    return {
        "qid": qid,
        "query": text,
        "duration": 150,
        "vid": vid,
        "relevant_clip_ids": [0],
        "saliency_scores": [[1, 2, 3]],
        "relevant_windows": list(windows),
    }


QUERIES = [
    query(7, "a_0.0_150.0", "Someone cooks.", [10, 20], [2, 4]),
    query(9, "b_0.0_150.0", "A dog runs.", [0, 150]),
    query(8, "a_0.0_150.0", "A girl eats.", [4, 8]),
]
NAMES = ("train_release", "val_release", "test_with_gt")


def write(manual: Path, queries: list[Any], *names: str) -> None:
    (manual / "features").mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(query) + "\n" for query in queries)
    for name in names or NAMES:
        (manual / f"highlight_{name}.jsonl").write_text(lines)
    for video_id in ("a_0.0_150.0", "b_0.0_150.0"):
        np.save(manual / f"features/{video_id}.npy", np.ones((150, 512), np.float16))


def test_records(tmp_path: Path) -> None:
    write(tmp_path, QUERIES)
    builder = Builder(data_dir=tmp_path / "data")
    download = tfds.download.DownloadConfig(manual_dir=tmp_path)
    builder.download_and_prepare(download_config=download)
    assert sorted(builder.info.splits) == ["test", "train", "validation"]
    dataset = Dataset("qvhighlights", "validation", str(tmp_path / "data"))
    records = {r["video_id"]: r for r in (dataset[i] for i in range(dataset.num_records))}
    assert len(records) == 2
    record = records["a_0.0_150.0"]
    cooks, eats = "Someone cooks.", "A girl eats."
    assert record["clips"]["text"] == [cooks, eats, cooks]
    assert record["clips"]["start"].tolist() == [2, 4, 10]
    moments = record["moments"]
    assert moments["text"] == [cooks, eats] and moments["qid"].tolist() == [7, 8]
    assert moments["num_windows"].tolist() == [2, 1]
    assert moments["windows"].tolist() == [[10, 20], [2, 4], [4, 8]]


def test_queries_without_windows_are_kept(tmp_path: Path) -> None:
    """The challenge's test file has no windows."""
    blind = [{k: v for k, v in q.items() if k != "relevant_windows"} for q in QUERIES]
    write(tmp_path, QUERIES, "train_release")
    write(tmp_path, blind, "test_release")
    builder = Builder(data_dir=tmp_path / "data")
    download = tfds.download.DownloadConfig(manual_dir=tmp_path)
    builder.download_and_prepare(download_config=download)
    assert sorted(builder.info.splits) == ["test", "train"]
    dataset = Dataset("qvhighlights", "test", str(tmp_path / "data"))
    actual = [dataset[i]["moments"] for i in range(2)]
    assert sorted(len(moments["text"]) for moments in actual) == [1, 2]
    assert all(not moments["num_windows"].any() for moments in actual)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"qid": 8}, "qid 8 occurs twice"),
        ({"qid": -1}, "line 1: qid is -1, expected 0 to 2147483647"),
        ({"query": " "}, "line 1, qid 7: query is empty"),
        ({"relevant_windows": [[1]]}, "line 1, qid 7: field 'segment' has 1 items"),
        ({"relevant_windows": None}, "line 1, qid 7: field 'relevant_windows' is NoneType"),
    ],
)
def test_a_bad_query_skips_its_video(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    write(tmp_path, [QUERIES[0] | change, *QUERIES[1:]])
    skipped, good = Builder(data_dir=tmp_path / "data").splits(tmp_path)["test"]
    assert isinstance(skipped, Skipped) and isinstance(good, Video)
    assert f"{tmp_path}/highlight_test_with_gt.jsonl: {reason}" in skipped.reason


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, QUERIES)
    path = tmp_path / "highlight_val_release.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="val_release.jsonl: line 3 column .*: not JSON"):
        list(Builder(data_dir=tmp_path / "data").splits(tmp_path)["validation"])
