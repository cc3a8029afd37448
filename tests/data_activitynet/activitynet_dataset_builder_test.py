import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.activitynet.activitynet_dataset_builder import Builder
from vtmask.datasets.entries import Skipped, Video
from vtmask.errors import UserError
from vtmask.inputs.dataset import Dataset

DANCE = {
    "duration": 20.5,
    "timestamps": [[4, 9.5], [0.25, 3], [6, 6], [19, 40]],
    "sentences": ["A girl  dances.", " She enters.", "A flash.", " She rests."],
}
COOK = {"duration": 9, "timestamps": [[0, 9]], "sentences": ["Someone cooks."]}


def write(manual: Path, name: str, **videos: Any) -> None:
    (manual / "features").mkdir(parents=True, exist_ok=True)
    (manual / f"{name}.json").write_text(json.dumps(videos))
    for video_id in videos:
        np.save(manual / f"features/{video_id}.npy", np.ones((20, 512), np.float16))


def test_records(tmp_path: Path) -> None:
    for name in ("train", "val_1", "val_2"):
        write(tmp_path, name, v_a=DANCE, v_b=COOK)
    builder = Builder(data_dir=tmp_path / "data")
    download = tfds.download.DownloadConfig(manual_dir=tmp_path)
    builder.download_and_prepare(download_config=download)
    assert sorted(builder.info.splits) == ["train", "val_1", "val_2"]
    dataset = Dataset("activitynet", "val_1", str(tmp_path / "data"))
    records = {r["video_id"]: r for r in (dataset[i] for i in range(dataset.num_records))}
    record = records["v_a"]
    paragraph = "A girl dances. She enters. A flash. She rests."
    assert record["descriptions"]["text"] == [paragraph]
    assert record["clips"]["text"] == ["She enters.", "A girl dances.", "A flash.", "She rests."]
    assert record["clips"]["end"].tolist() == [3, 9.5, 6, 20]
    moments = record["moments"]
    assert moments["text"] == ["A girl dances.", "She enters.", "She rests."]
    assert moments["windows"].tolist() == [[4, 9.5], [0.25, 3], [19, 40]]
    assert moments["num_windows"].tolist() == [1, 1, 1]
    assert records["v_b"]["moments"]["windows"].tolist() == [[0, 9]]
    report = json.loads((Path(builder.data_path) / "build_report.json").read_text())
    assert report["val_1"]["dropped_or_cut"] == {
        "caption cut at the video's end": 1,
        "moment without a length": 1,
    }


def test_only_splits_with_a_file_are_built(tmp_path: Path) -> None:
    write(tmp_path, "val_2", v_a=COOK)
    builder = Builder(data_dir=tmp_path / "data")
    assert list(builder.splits(tmp_path)) == ["val_2"]
    (tmp_path / "val_2.json").unlink()
    with pytest.raises(UserError, match="has none of train.json, val_1.json, val_2.json"):
        builder.splits(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sentences": ["x"]}, "has 1 sentences, but 4 timestamps"),
        ({"timestamps": [[1]] * 4}, "timestamp 0: field 'segment' has 1 items"),
        ({"timestamps": [[0, "1"]] * 4}, "timestamp 0: field 'segment' is str"),
        ({"sentences": ["x", 2, "y", "z"]}, "sentence 1: field 'sentence' is int"),
        ({"sentences": None}, "field 'sentences' is NoneType"),
    ],
)
def test_a_bad_video_is_skipped(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    write(tmp_path, "train", bad=DANCE | change, good=COOK)
    skipped, good = Builder(data_dir=tmp_path / "data").splits(tmp_path)["train"]
    assert isinstance(skipped, Skipped) and skipped.reason.startswith(f"train.json: {reason}")
    assert isinstance(good, Video)
