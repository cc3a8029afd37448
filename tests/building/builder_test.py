"""Records made by what all builders share: fields, cleaning, skips, report, Beam."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from building.toy import Toy

from vtmask.errors import UserError
from vtmask.inputs.dataset import Dataset

SAID = [[4.0, 6.0, "now chop it"], [1.0, 2.5, "take the onion"], [9.0, 5.0, "backwards"]]


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """Manual folder with 5 usable videos, one without features, one NaN, one not annotated."""
    folder = tmp_path / "manual"
    (folder / "features").mkdir(parents=True)
    names = {"train": ["a", "b", "c", "absent", "nan"], "test": ["d", "e"]}
    for split, videos in names.items():
        annotated = {name: SAID for name in videos} | {f"{split}-silent": []}
        (folder / f"{split}.json").write_text(json.dumps(annotated))
        for number, name in enumerate(videos):
            values = np.full((10, 4), number, np.float32)
            values[3, 1] = np.nan if name == "nan" else 0
            if name != "absent":
                np.save(folder / "features" / f"{name}.npy", values)
    return folder


def build(manual: Path, out: Path, beam: bool = False) -> Toy:
    options = {}
    if beam:
        options["beam_options"] = pytest.importorskip(
            "apache_beam.options.pipeline_options"
        ).PipelineOptions()
    config = tfds.download.DownloadConfig(manual_dir=manual, **options)
    builder = Toy(data_dir=out)
    builder.download_and_prepare(download_config=config)
    return builder


def test_records(manual: Path, tmp_path: Path) -> None:
    build(manual, tmp_path / "data")
    dataset = Dataset("toy/default", "train", str(tmp_path / "data"))
    by_id = {dataset[i]["video_id"]: dataset[i] for i in range(dataset.num_records)}
    assert sorted(by_id) == ["a", "b", "c"]
    record = by_id["b"]
    assert record["features"].dtype == np.float16 and record["features"].shape == (10, 4)
    assert record["captions"]["text"] == ["take the onion", "now chop it"]
    assert record["steps"]["label"].tolist() == [2, 1]
    assert record["labels"].tolist() == [0, 1, 1, 0, 1, 1, 0, 0, 0, 0]
    assert record["choices"]["correct"] == 1 and record["choices"]["text"] == ["yes", "no"]
    assert record["descriptions"]["text"] == ["a description"]


def test_report(manual: Path, tmp_path: Path) -> None:
    folder = Path(build(manual, tmp_path / "data").data_path)
    found = json.loads((folder / "build_report.json").read_text())
    assert {split: counts["videos"] for split, counts in found.items()} == {"train": 3, "test": 2}
    reasons = {entry["video_id"]: entry["reason"] for entry in found["train"]["skipped"]}
    assert sorted(reasons) == ["absent", "nan", "train-silent"]
    assert "absent.npy" in reasons["absent"]
    assert "second 3 are not finite" in reasons["nan"]
    assert found["test"]["dropped_or_cut"]["empty description"] == 2


def test_beam_writes_the_same_bytes(manual: Path, tmp_path: Path) -> None:
    alone = Path(build(manual, tmp_path / "alone").data_path)
    beam = Path(build(manual, tmp_path / "beam", beam=True).data_path)
    names = sorted(path.name for path in alone.iterdir())
    assert names == sorted(path.name for path in beam.iterdir())
    for name in names:
        assert (alone / name).read_bytes() == (beam / name).read_bytes(), name


def test_a_split_without_any_usable_video(manual: Path, tmp_path: Path) -> None:
    for name in "de":
        (manual / "features" / f"{name}.npy").unlink()
    with pytest.raises(UserError, match="test: none of its 3 videos .* first: video d: .*d.npy"):
        build(manual, tmp_path / "data")


def test_a_video_that_comes_twice(
    manual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = Toy._entries
    monkeypatch.setattr(Toy, "_entries", lambda *args: [*entries(*args), *entries(*args)])
    folder = Path(build(manual, tmp_path / "data").data_path)
    found = json.loads((folder / "build_report.json").read_text())["test"]
    assert found["videos"] == 2
    assert found["reasons"]["duplicate video id; the first one is kept"] == 3
