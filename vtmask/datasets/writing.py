"""How TFDS writes shards, for every builder that uses `vtmask.datasets.records`."""

import contextlib
import os
from collections.abc import Iterable
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core import file_adapters


def write_alike() -> None:
    """Has TFDS write shards that are the same bytes from any process, and fast to read.

    By itself it writes a record's fields in an order that differs from process to process, Beam's
    workers among them; and it compresses, which makes features 8 % smaller and reading take nearly
    three times the processor's time (benchmarks/README.md).
    """
    tfds.core.ExampleSerializer.serialize_example = _serialize
    file_adapters.ADAPTER_FOR_FORMAT[file_adapters.FileFormat.ARRAY_RECORD] = _Uncompressed


def _serialize(serializer: tfds.core.ExampleSerializer, example: Any) -> bytes:
    return serializer.get_tf_example(example).SerializeToString(deterministic=True)


class _Uncompressed(file_adapters.ArrayRecordFileAdapter):
    """Writes records as they are, each for itself so that they can be read at random."""

    @classmethod
    def write_examples(cls, path: Any, iterator: Iterable[tuple[Any, bytes]]) -> None:
        writer = ArrayRecordWriter(os.fspath(path), "group_size:1,uncompressed")
        with contextlib.closing(writer):
            for _, serialized in iterator:
                writer.write(serialized)
