from pathlib import Path

import numpy as np
import pytest

from data.demo import rendering, world
from data.demo.demo_dataset_builder import Builder
from vtmask.features import create, extract
from vtmask.inputs.dataset import Dataset


@pytest.fixture(scope="module")
def built(demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Returns the data folders of two builds of `tiny`; the second reuses the first's tokenizer."""
    other = tmp_path_factory.mktemp("data")
    tokenizer = str(demo_dir / "demo/tiny/2.0.0/tokenizer.model")
    Builder(config="tiny", data_dir=other, tokenizer=tokenizer).download_and_prepare()
    return [demo_dir, other]


def test_two_builds_have_the_same_bits(built: list[Path]) -> None:
    first, second = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.m*")}
        for folder in built
    )
    assert len(first) == 24 + 8 + 8 + 1 and first == second  # videos and the tokenizer
    for split in world.SPLITS:
        one, other = (Dataset("demo/tiny", split, str(folder)) for folder in built)
        indices = range(one.num_records)
        assert one.read(indices) == other.read(indices)


def test_shards_are_array_records(built: list[Path]) -> None:
    names = sorted(path.name for path in built[0].rglob("*-of-*"))
    assert names == [
        f"demo-{s}.array_record-00000-of-00001" for s in ("test", "train", "validation")
    ]


def test_records_are_complete(built: list[Path]) -> None:
    dataset = Dataset("demo/tiny", "train", str(built[0]))
    assert dataset.num_records == 24
    assert dataset.feature_extractor == "pixel-statistics-v1"
    every = [dataset[index] for index in range(dataset.num_records)]
    descriptions = {record["descriptions"]["text"][0] for record in every}
    for record in every:
        seconds = len(record["features"])
        assert 12 <= seconds <= 20
        assert len(record["labels"]) == seconds
        assert len(record["steps"]["label"]) == len(record["steps"]["text"]) in (3, 4)
        for field in ("choices", "hard_choices"):
            answers = record[field]["text"]
            assert len(set(answers)) == 5
            assert answers[record[field]["correct"]] == record["descriptions"]["text"][0]
        assert set(record["choices"]["text"]) <= descriptions
        assert sum(record["captions"]["num_tokens"]) == len(record["captions"]["tokens"])


def test_features_equal_those_of_the_video_files(built: list[Path]) -> None:
    dataset = Dataset("demo/tiny", "test", str(built[0]))
    record = dataset[0]
    features = extract(dataset.path / record["video"], create(dataset.feature_extractor))
    np.testing.assert_array_equal(features, record["features"])


def test_only_the_steps_show_objects() -> None:
    (story,) = world.stories(0, "train", 1)
    frames = np.stack(list(rendering.render(story))).astype(int)
    assert frames.shape == (story.seconds * world.FRAME_RATE, rendering.SIZE, rendering.SIZE, 3)
    saturation = np.ptp(frames, axis=-1).max((1, 2))
    times = np.arange(len(frames)) / world.FRAME_RATE
    empty = ~np.any([(s.start <= times) & (times < s.end) for s in story.steps], axis=0)
    assert empty.any()
    for step in story.steps:
        if step.composition.colour != "white":
            during = (step.start <= times) & (times < step.end)
            assert saturation[during].min() > saturation[empty].max()
