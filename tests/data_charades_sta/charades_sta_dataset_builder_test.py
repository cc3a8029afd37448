import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.charades_sta.charades_sta_dataset_builder import Builder
from vtmask.datasets.entries import Skipped, Video
from vtmask.errors import UserError
from vtmask.inputs.dataset import Dataset

LINES = (
    "AO8RW 4.0 6.9##a person is putting a book on a shelf.\n"
    "Y6R7T 20.8 30.0##person begins to play on a phone.\n"
    "AO8RW 0.0 3##a person opens a door.\n"
)


def write(manual: Path, lines: str = LINES) -> None:
    (manual / "features").mkdir(parents=True, exist_ok=True)
    for name in ("train", "test"):
        (manual / f"charades_sta_{name}.txt").write_text(lines)
    for video_id in ("AO8RW", "Y6R7T"):
        np.save(manual / f"features/{video_id}.npy", np.ones((25, 512), np.float16))


def test_records(tmp_path: Path) -> None:
    write(tmp_path)
    builder = Builder(data_dir=tmp_path / "data")
    download = tfds.download.DownloadConfig(manual_dir=tmp_path)
    builder.download_and_prepare(download_config=download)
    assert sorted(builder.info.splits) == ["test", "train"]
    dataset = Dataset("charades_sta", "test", str(tmp_path / "data"))
    records = {r["video_id"]: r for r in (dataset[i] for i in range(dataset.num_records))}
    first = records["AO8RW"]
    door, book = "a person opens a door.", "a person is putting a book on a shelf."
    assert first["clips"]["text"] == [door, book] and first["moments"]["text"] == [book, door]
    np.testing.assert_allclose(first["moments"]["windows"], [[4.0, 6.9], [0.0, 3.0]], 1e-6)
    cut = records["Y6R7T"]
    assert cut["clips"]["end"].tolist() == [25]
    np.testing.assert_allclose(cut["moments"]["windows"], [[20.8, 30]], 1e-6)
    report = json.loads((Path(builder.data_path) / "build_report.json").read_text())
    assert report["test"]["dropped_or_cut"] == {"caption cut at the video's end": 1}


@pytest.mark.parametrize(
    "line", ["Y6R7T 1.0##x", "Y6R7T a 2##x", "Y6R7T 1 2 x", "Y6R7T 1 2##", "Y6R7T -1 2##x"]
)
def test_a_bad_line_skips_its_video(tmp_path: Path, line: str) -> None:
    write(tmp_path, LINES + line + "\n")
    first, skipped = Builder(data_dir=tmp_path / "data").splits(tmp_path)["train"]
    assert isinstance(first, Video) and isinstance(skipped, Skipped)
    assert (skipped.video_id, line in skipped.reason) == ("Y6R7T", True)


def test_a_missing_list_is_reported(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "charades_sta_test.txt").unlink()
    with pytest.raises(UserError, match="charades_sta_test.txt: cannot be read: No such file"):
        list(Builder(data_dir=tmp_path / "data").splits(tmp_path)["test"])
