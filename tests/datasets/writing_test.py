"""Shards are uncompressed, and equal for any order of fields. A full disk is reported."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from tensorflow_datasets.core.file_adapters import FileFormat
from tensorflow_datasets.proto import tf_example_pb2
from toy import Toy

from vtmask.datasets.writing import ShardWriter
from vtmask.errors import UserError

FIELDS = {name: name.encode() * 99 for name in ("video_id", "features", "captions/text", "steps")}


def serialized(names: list[str]) -> bytes:
    """Concatenates the fields in this order; the message is valid in any order."""
    return b"".join(
        tf_example_pb2.Example(
            features={"feature": {name: {"bytes_list": {"value": [FIELDS[name]]}}}}
        ).SerializeToString()
        for name in names
    )


def test_the_order_of_fields_does_not_matter(tmp_path: Path) -> None:
    names = list(FIELDS)
    assert serialized(names) != serialized(names[::-1])
    for file, order in {"a": names, "b": names[::-1]}.items():
        ShardWriter(FileFormat.ARRAY_RECORD).write(tmp_path / file, [(0, serialized(order))])
    written = (tmp_path / "a").read_bytes()
    assert written == (tmp_path / "b").read_bytes()
    assert all(value in written for value in FIELDS.values())  # nothing is compressed
    reader = ArrayRecordReader(str(tmp_path / "a"))
    actual = tf_example_pb2.Example.FromString(reader.read([0])[0]).features.feature
    assert {name: value.bytes_list.value[0] for name, value in actual.items()} == FIELDS


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Limits files to 300 KB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_reported_and_the_build_discarded(tmp_path: Path, small_disk: None) -> None:
    (tmp_path / "features").mkdir()
    for split, video_ids in {"train": "abc", "test": "d"}.items():
        annotated = {video_id: [[1, 2, "take the onion"]] for video_id in video_ids}
        (tmp_path / f"{split}.json").write_text(json.dumps(annotated))
        for video_id in video_ids:
            values = np.random.default_rng(0).standard_normal((20_000, 4)).astype(np.float16)
            np.save(tmp_path / "features" / f"{video_id}.npy", values)
    download = tfds.download.DownloadConfig(manual_dir=tmp_path)
    with pytest.raises(UserError) as error:
        Toy(data_dir=tmp_path / "data").download_and_prepare(download_config=download)
    message = str(error.value)
    assert (
        message.startswith(f"{tmp_path}/data/toy/default/") and "toy-train.array_record" in message
    )
    assert "File too large; free disk space and build again. This build was discarded" in message
    assert list((tmp_path / "data/toy/default").iterdir()) == []


def test_another_file_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--file_format is tfrecord, expected array_record"):
        Toy(data_dir=tmp_path, file_format="tfrecord")
