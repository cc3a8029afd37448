"""The base class of all builders makes fields, cleans captions, skips videos and reports them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tokenizers_test import TOKENIZERS
from toy import Toy

from vtmask.datasets.builder import VideoTextConfig
from vtmask.datasets.entries import Duration, FeatureLabels, TimedTexts
from vtmask.errors import UserError
from vtmask.files.subtitles import Caption
from vtmask.inputs.dataset import Dataset

CAPTIONS = [[4.0, 6.0, "now chop it"], [1.0, 2.5, "take the onion"], [9.0, 5.0, "backwards"]]


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """Makes a manual folder with 5 usable videos, one without features, one with a NaN, and one
    without annotations per split."""
    folder = tmp_path / "manual"
    (folder / "features").mkdir(parents=True)
    names = {"train": ["a", "b", "c", "absent", "nan"], "test": ["d", "e"]}
    for split, videos in names.items():
        annotated = {name: CAPTIONS for name in videos} | {f"{split}-silent": []}
        (folder / f"{split}.json").write_text(json.dumps(annotated))
        for number, name in enumerate(videos):
            values = np.full((10, 4), number, np.float32)
            values[3, 1] = np.nan if name == "nan" else 0
            if name != "absent":
                np.save(folder / "features" / f"{name}.npy", values)
    return folder


def build(manual: Path, out: Path, beam: bool = False, **fields: Any) -> Toy:
    """Builds Toy's default config or, if given fields, a config "mine"."""
    options = {}
    if beam:
        options["beam_options"] = pytest.importorskip(
            "apache_beam.options.pipeline_options"
        ).PipelineOptions()
    config = tfds.download.DownloadConfig(manual_dir=manual, **options)
    mine = VideoTextConfig(name="mine", vocab_size=60, **{"feature_size": 4} | fields)
    builder = Toy(config=mine if fields else None, data_dir=out)
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
    actual = json.loads((folder / "build_report.json").read_text())
    assert {split: counts["videos"] for split, counts in actual.items()} == {"train": 3, "test": 2}
    reasons = {entry["video_id"]: entry["reason"] for entry in actual["train"]["skipped"]}
    assert sorted(reasons) == ["absent", "nan", "train-silent"]
    assert "absent.npy" in reasons["absent"]
    assert "row 3 are not finite" in reasons["nan"]
    assert actual["test"]["dropped_or_cut"]["empty description"] == 2


def test_beam_writes_the_same_bytes(manual: Path, tmp_path: Path) -> None:
    alone = Path(build(manual, tmp_path / "alone").data_path)
    beam = Path(build(manual, tmp_path / "beam", beam=True).data_path)
    names = sorted(path.name for path in alone.iterdir())
    assert names == sorted(path.name for path in beam.iterdir())
    for name in names:
        assert (alone / name).read_bytes() == (beam / name).read_bytes(), name


def test_a_split_without_any_usable_video_is_refused(manual: Path, tmp_path: Path) -> None:
    for name in "de":
        (manual / "features" / f"{name}.npy").unlink()
    with pytest.raises(UserError, match="test: none of its 3 videos .* first: video d: .*d.npy"):
        build(manual, tmp_path / "data")


def test_a_duplicate_video_is_kept_once(
    manual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = Toy._entries
    monkeypatch.setattr(Toy, "_entries", lambda *args: [*entries(*args), *entries(*args)])
    folder = Path(build(manual, tmp_path / "data").data_path)
    actual = json.loads((folder / "build_report.json").read_text())["test"]
    assert actual["videos"] == 2
    assert actual["reasons"]["duplicate video id; the first one is kept"] == 3


@pytest.mark.parametrize(
    ("length", "seconds", "ends", "labels"),
    [
        (0.5, 5, [2.5, 5.0], [0, 0, 1, 1, 1, 0, 0, 0, 1, 1]),
        (2.0, 20, [2.5, 6.0], [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_times_at_other_rates(
    manual: Path, tmp_path: Path, length: float, seconds: int, ends: list[float], labels: list[int]
) -> None:
    folder = Path(build(manual, tmp_path / "data", seconds_per_feature=length).data_path)
    dataset = Dataset("toy/mine", "train", str(tmp_path / "data"))
    assert dataset.seconds_per_feature == length
    record = dataset[0]
    for field in ("captions", "steps"):
        assert (
            record[field]["start"].tolist() == [1.0, 4.0] and record[field]["end"].tolist() == ends
        )
    assert record["labels"].tolist() == labels
    actual = json.loads((folder / "build_report.json").read_text())["train"]
    assert actual["captions"]["video_seconds"]["max"] == seconds


@pytest.mark.parametrize(
    ("length", "start", "end", "labelled"),
    [
        (0.1, 0.3, 0.7, [3, 4, 5, 6]),  # 0.3 / 0.1 < 3 and 0.7 / 0.1 < 7
        (1 / 3, 1, 2, [3, 4, 5]),
        (0.5, 0.7, 1.1, [1, 2]),
        (0.5, -9, 0.5, [0]),
        (0.5, 4.9, 1e308, [9]),
        (0.5, 5, 1e308, []),
        (0.5, -1e308, -1, []),
    ],
)
def test_every_feature_that_a_step_touches_has_its_label(
    length: float, start: float, end: float, labelled: list[int]
) -> None:
    labels = FeatureLabels([(start, end, 7)])
    actual = labels.encode(TOKENIZERS[0], Duration(10, length), Counter())
    assert actual.shape == (10,) and np.flatnonzero(actual == 7).tolist() == labelled


def test_captions_with_equal_times_keep_the_order_of_the_file() -> None:
    lines = [
        Caption(1, 2, "stir"),
        Caption(0, 9, "last"),
        Caption(1, 2, "chop"),
        Caption(0, 1, "a"),
    ]
    texts = TimedTexts(lines, labels=[1, 2, 3, 4])
    actual = texts.encode(TOKENIZERS[0], Duration(10, 1.0), Counter())
    assert actual["text"] == ["a", "last", "stir", "chop"]
    assert actual["label"].tolist() == [4, 2, 1, 3]


@pytest.mark.parametrize("length", [0, -1, float("nan"), float("inf")])
def test_an_invalid_rate_is_refused(length: float) -> None:
    with pytest.raises(UserError, match="'seconds_per_feature' is .*, expected a finite number"):
        VideoTextConfig(seconds_per_feature=length)


CARD = {"feature_extractor": "clip", "feature_size": 4, "seconds_per_feature": 0.5, "more": 1}


def test_a_feature_card_that_agrees_is_accepted(manual: Path, tmp_path: Path) -> None:
    (manual / "features" / "features.json").write_text(json.dumps(CARD))
    build(manual, tmp_path / "data", feature_extractor="clip", seconds_per_feature=0.5)
    dataset = Dataset("toy/mine", "train", str(tmp_path / "data"))
    assert (dataset.feature_extractor, dataset.seconds_per_feature) == ("clip", 0.5)


@pytest.mark.parametrize(
    ("card", "problem"),
    [
        (
            json.dumps(CARD | {"seconds_per_feature": 1}),
            "features have feature_extractor 'clip', the config says 's3d-howto100m'; "
            'set "feature_extractor": "clip" in --config',
        ),
        (
            json.dumps(CARD | {"feature_extractor": "s3d-howto100m", "feature_size": 768}),
            "features have feature_size 768, seconds_per_feature 0.5, the config says 4, 1.0; "
            'set "feature_size": 768, "seconds_per_feature": 0.5 in --config',
        ),
        ("[]", "is list, expected an object with the field 'feature_extractor'"),
        ('{"feature_extractor": "clip"}', "has no field 'feature_size'; expected int"),
        (json.dumps(CARD | {"seconds_per_feature": "1"}), "field 'seconds_per_feature' is str"),
        ('{"extractor', "line 1 column 2: not JSON"),
    ],
)
def test_a_feature_card_that_disagrees_is_refused(
    manual: Path, tmp_path: Path, card: str, problem: str
) -> None:
    path = manual / "features" / "features.json"
    path.write_text(card)
    with pytest.raises(UserError) as error:
        build(manual, tmp_path / "data")
    assert str(error.value).startswith(f"{path}: {problem}")
