"""Batches are a function of (seed, step) for any number of hosts, and bad data is reported."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from vtmask.errors import UserError
from vtmask.evaluation import base
from vtmask.inputs import examples, pipeline, samplers
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.pipeline import Batch, TrainingBatches
from vtmask.models import VLMConfig


@pytest.fixture
def dataset(demo_dir: Path) -> Dataset:
    return Dataset("demo/tiny", "train", str(demo_dir))


def batches(dataset: Dataset, **options: Any) -> TrainingBatches:
    model_config = VLMConfig(feature_size=dataset.feature_size)
    sampler = samplers.CaptionWindows(model_config, clips_per_record=2)
    return TrainingBatches([dataset], sampler, **{"batch_size": 16, "seed": 7} | options)


def take(source: TrainingBatches, start: int, count: int) -> list[Batch]:
    return list(islice(source.from_step(start), count))


def assert_equal(one: Batch, other: Batch) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_a_batch_has_the_shapes_and_types_that_the_model_takes(dataset: Dataset) -> None:
    [batch] = take(batches(dataset), 0, 1)
    assert {name: (value.shape, value.dtype) for name, value in batch.items()} == {
        "video": ((16, 32, 512), np.float16),
        "video_mask": ((16, 32), np.bool_),
        "text": ((16, 62), np.int32),
        "text_mask": ((16, 62), np.bool_),
    }
    lengths = np.linalg.norm(batch["video"].astype(np.float32), axis=-1)
    np.testing.assert_allclose(lengths, batch["video_mask"], atol=2e-3)


def test_resuming_continues_the_same_batches(dataset: Dataset) -> None:
    uninterrupted = take(batches(dataset), 0, 8)
    for one, other in zip(uninterrupted[5:], take(batches(dataset), 5, 3), strict=True):
        assert_equal(one, other)
    assert (take(batches(dataset, seed=8), 0, 1)[0]["text"] != uninterrupted[0]["text"]).any()


@pytest.mark.parametrize("num_hosts", [2, 4])
def test_hosts_share_the_same_global_batches(dataset: Dataset, num_hosts: int) -> None:
    parts = [
        take(batches(dataset, host=host, num_hosts=num_hosts), 3, 4) for host in range(num_hosts)
    ]
    for step, global_batch in enumerate(take(batches(dataset), 3, 4)):
        joined = {k: np.concatenate([part[step][k] for part in parts]) for k in global_batch}
        assert_equal(joined, global_batch)


def test_no_batch_has_a_video_twice(dataset: Dataset) -> None:
    source = batches(dataset, batch_size=20)  # 10 of 24 videos: an epoch is 2 batches
    assert all(len(set(source.video_ids(step))) == 10 for step in range(9))
    assert len(set(source.video_ids(0) + source.video_ids(1))) == 20


def test_an_epoch_has_every_video_once(dataset: Dataset) -> None:
    source = batches(dataset, batch_size=2)
    first, second = (
        [source.video_ids(step)[0] for step in range(start, start + dataset.num_records)]
        for start in (0, dataset.num_records)
    )
    assert len(set(first)) == dataset.num_records and set(first) == set(second)
    assert first != second


def test_evaluation_has_every_video_once_in_order(dataset: Dataset) -> None:
    model_config = VLMConfig(feature_size=dataset.feature_size)
    texts = (
        examples.text(model_config, r["descriptions"]["tokens"]) for r in base.records(dataset)
    )
    actual = [batch["text"][:count] for batch, count in examples.stack(texts, 7)]
    rows = np.concatenate(actual)
    assert len(rows) == dataset.num_records
    for index in (0, dataset.num_records - 1):
        tokens = dataset[index]["descriptions"]["tokens"]
        np.testing.assert_array_equal(rows[index][: len(tokens)], tokens)


def test_the_batch_size_must_fit_the_hosts(dataset: Dataset) -> None:
    with pytest.raises(UserError, match="batch_size is 16, expected a multiple of 6"):
        batches(dataset, num_hosts=3)


@pytest.fixture
def copy(demo_dir: Path, tmp_path: Path) -> Path:
    shutil.copytree(demo_dir, tmp_path, dirs_exist_ok=True)
    return tmp_path


def shard(folder: Path) -> Path:
    return next(folder.rglob("*train.array_record*"))


def test_a_missing_data_set_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="build demo --config=tiny --data_dir="):
        Dataset("demo/tiny", "train", str(tmp_path))


def test_a_missing_split_is_reported(demo_dir: Path) -> None:
    with pytest.raises(UserError, match="no split 'dev'; it has train \\(24\\), validation"):
        Dataset("demo/tiny", "dev", str(demo_dir))


def test_a_missing_shard_is_reported(copy: Path) -> None:
    shard(copy).unlink()
    with pytest.raises(UserError, match="array_record.*: shard is missing"):
        Dataset("demo/tiny", "train", str(copy))


def test_a_truncated_shard_is_reported(copy: Path) -> None:
    path = shard(copy)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="array_record.*: shard is truncated or damaged"):
        Dataset("demo/tiny", "train", str(copy))


def test_damaged_bytes_of_a_shard_are_reported(copy: Path) -> None:
    path = shard(copy)
    content = bytearray(path.read_bytes())
    content[len(content) // 4 : len(content) // 4 + 1000] = bytes(1000)
    path.write_bytes(content)
    with pytest.raises(UserError, match="array_record|records .* can't be read"):
        take(batches(Dataset("demo/tiny", "train", str(copy))), 0, 4)


def test_another_tokenizer_is_refused(copy: Path) -> None:
    path = next(copy.rglob("tokenizer.model"))
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(UserError, match="tokenizer.model: "):
        Dataset("demo/tiny", "train", str(copy))


@pytest.mark.parametrize("change", [{}, {"seconds_per_feature": 0.0}])
def test_a_data_set_without_a_rate_is_refused(copy: Path, change: dict[str, float]) -> None:
    path = next(copy.glob("demo/tiny/*/metadata.json"))
    metadata = json.loads(path.read_text())
    del metadata["seconds_per_feature"]
    path.write_text(json.dumps(metadata | change))
    with pytest.raises(
        UserError, match="metadata.json: has no seconds_per_feature; build it again"
    ):
        Dataset("demo/tiny", "train", str(copy))


@pytest.mark.parametrize(
    ("field", "problem"),
    [("features", "field features is not finite"), ("captions", "a text ends before it starts")],
)
def test_a_bad_record_is_reported_with_its_video(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, field: str, problem: str
) -> None:
    parse = dataset.parse

    def damaged(serialized: Any, texts: str) -> dict[str, Any]:
        records = parse(serialized, texts)
        number = tf.size(records["num_features"])
        last = tf.range(number) == number - 1
        if field == "features":
            bad = tf.where(last, np.nan, 1.0)[:, None, None]
            records["features"] = records["features"] * tf.cast(bad, tf.float16)
        else:
            start = records["captions"]["start"]
            end = tf.where(last[:, None], start - 1, records["captions"]["end"])
            records["captions"] = records["captions"] | {"end": end}
        return records

    monkeypatch.setattr(dataset, "parse", damaged)
    source = batches(dataset)
    name = source.video_ids(0)[-1]
    with pytest.raises(
        UserError, match=f"demo/tiny.*: video {name}: field {field}.*{problem[-9:]}"
    ):
        take(source, 0, 1)


NOTHING = np.array([], np.int32)
TEXTLESS: dict[str, Any] = {"text": [], "tokens": NOTHING, "num_tokens": NOTHING}


def sampler(name: str, **options: Any) -> samplers.Sampler:
    return samplers.create(name, VLMConfig(num_classes=9), **options)


STEPS = sampler("step_windows", windows=2, max_steps=8)
LABELS = sampler("labelled_windows", clips_per_record=1)
TIMED = sampler("timed_texts", clips_per_record=1)


@pytest.mark.parametrize(
    ("sampler", "change", "problem"),
    [
        (STEPS, {"features": np.zeros((0, 512), np.float16)}, "field features is empty; build it"),
        (STEPS, {"step_texts": TEXTLESS}, "field step_texts is empty; expected a task's steps"),
        (LABELS, {"labels": np.zeros(3, np.int32)}, "field labels must have one class per feature"),
        (LABELS, {"labels": np.full(20, 9, np.int32)}, "field labels has a class that metadata"),
    ],
)
def test_an_annotation_that_does_not_fit_is_reported_with_its_video(
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    sampler: samplers.Sampler,
    change: dict[str, Any],
    problem: str,
) -> None:
    fields, read = dataset._features, dataset.read
    if "labels" in change:  # as many as labels, unless their number is the problem
        change |= {"features": np.ones((20, 512), np.float16)}

    def damaged(indices: Sequence[int]) -> list[bytes]:
        records = read(indices)
        record = fields.deserialize_example_np(records[-1]) | change
        return [*records[:-1], fields.serialize_example(record)]

    source = TrainingBatches([dataset], sampler, 8, seed=7)
    name = source.video_ids(0)[-1]
    monkeypatch.setattr(dataset, "read", damaged)
    with pytest.raises(UserError) as error:
        take(source, 0, 1)
    assert str(error.value).startswith(f"{dataset.path}: video {name}: {problem}")
    assert "\n" not in str(error.value)


def test_a_non_ascii_path_is_reported_as_written(demo_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_dir, tmp_path / "Zoë's")
    dataset = Dataset("demo/tiny", "train", str(tmp_path / "Zoë's"))
    few = sampler("step_windows", windows=2, max_steps=1)
    with pytest.raises(UserError) as error:
        take(TrainingBatches([dataset], few, 8, seed=7), 0, 1)
    assert str(error.value).startswith(f"{dataset.path}: video train-")


@pytest.mark.parametrize(
    ("sampler", "field"),
    [
        (STEPS, "step_texts"),
        (LABELS, "labels"),
        (sampler("timed_texts", clips_per_record=1), "clips"),
    ],
)
def test_a_data_set_without_the_field_is_refused(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, sampler: samplers.Sampler, field: str
) -> None:
    fields = {name: feature for name, feature in dataset._features.items() if name != field}
    monkeypatch.setattr(dataset, "_features", fields)
    problem = f"^{dataset.path}: data set has no field '{field}'; it does not fit the task$"
    with pytest.raises(UserError, match=problem):
        take(TrainingBatches([dataset], sampler, 8, seed=7), 0, 1)


def test_a_read_error_is_reported_unchanged(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(indices: Any) -> list[bytes]:
        raise UserError("shard 3 can't be read")

    monkeypatch.setattr(dataset, "read", read)
    with pytest.raises(UserError, match="^shard 3 can't be read$"):
        take(batches(dataset), 0, 1)


def test_python_ends_while_batches_are_read_ahead(demo_dir: Path) -> None:
    """TensorFlow's threads must not wait for a Python process that has ended."""
    program = f"""
import time
from vtmask.inputs import samplers
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.pipeline import TrainingBatches
from vtmask.models import VLMConfig

dataset = Dataset("demo/tiny", "train", {str(demo_dir)!r})
read = dataset.read
dataset.read = lambda indices: (time.sleep(0.3), read(indices))[1]
sampler = samplers.CaptionWindows(VLMConfig(feature_size=512), clips_per_record=2)
batches = TrainingBatches([dataset], sampler, 16, 0).from_step(0)
next(batches)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Exception" not in ended.stderr


class Part:
    """A data set without files, for the order of a mixture."""

    def __init__(self, name: str, num_records: int):
        self.name, self.num_records = name, num_records

    def require_same_inputs(self, other: "Part") -> None: ...


def located(weights: Sequence[float], counts: Sequence[int], steps: int) -> list[tuple[str, int]]:
    parts: Any = [Part(f"part{i}", count) for i, count in enumerate(counts)]
    sampler = samplers.CaptionWindows(VLMConfig(), clips_per_record=4)
    source = TrainingBatches(parts, sampler, 64, 0, weights)
    return [(part.name, i) for step in range(steps) for part, i in source.records(step)]


def test_a_mixture_keeps_its_proportions_in_every_batch() -> None:
    actual = located([3, 1], [1000, 100], 200)
    for step in range(200):
        names = [name for name, _ in actual[step * 16 : step * 16 + 16]]
        assert names.count("part0") in (11, 12, 13)
    assert [name for name, _ in actual].count("part1") == pytest.approx(800, abs=1)


def test_a_mixture_goes_through_each_part_before_it_repeats() -> None:
    actual = located([1, 1], [1000, 100], 60)
    small = [i for name, i in actual if name == "part1"]
    assert sorted(small[:100]) == sorted(small[100:200]) == list(range(100))
    assert small[:100] != small[100:200]
    large = [i for name, i in actual if name == "part0"]
    assert len(set(large)) == len(large) == 480


def test_a_mixture_keeps_its_proportions_over_cycles() -> None:
    order = pipeline.cycle([0.5, 0.3, 0.2], ["a", "b", "c"])
    assert np.bincount(order).tolist() == [5000, 3000, 2000]
    for count in (10, 100, 1000):
        shares = np.bincount(order[:count], minlength=3) / count
        np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=1.5 / count)
    steps = 2 * pipeline.CYCLE // 16
    actual = located([3, 1], [500, 90], steps)
    counts = {name: sum(n == name for n, _ in actual) for name in ("part0", "part1")}
    assert counts == {"part0": 15000, "part1": 5000}
    assert set(i for name, i in actual if name == "part1") == set(range(90))


@pytest.mark.parametrize(
    ("weights", "problem"),
    [([1], "one positive number for each"), ([1, 0], "positive"), ([1, 1e-9], "less than 1/10000")],
)
def test_weights_that_make_no_mixture_are_refused(weights: list[float], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        located(weights, [10, 10], 1)


def test_parts_of_a_mixture_need_the_same_tokenizer_and_rate(dataset: Dataset, copy: Path) -> None:
    other = Dataset("demo/tiny", "test", str(copy))
    mixed = TrainingBatches([dataset, other], batches(dataset).sampler, 16, 0, (1.0, 1.0))
    assert len(set(mixed.video_ids(0))) == 8
    [batch] = take(mixed, 0, 1)
    assert batch["video_mask"].any(axis=1).all()
    changes: list[tuple[str, Any]] = [("seconds_per_feature", 0.5), ("tokenizer_sha256", "other")]
    for name, value in changes:
        ours = getattr(other, name)
        setattr(other, name, value)
        assert other.inputs != mixed.inputs
        with pytest.raises(
            UserError, match=f"{name} is {value}, but {ours} in .*; the data sets of a"
        ):
            TrainingBatches([dataset, other], batches(dataset).sampler, 16, 0, (1.0, 1.0))
        setattr(other, name, ours)
