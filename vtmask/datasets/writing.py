"""Makes TFDS write shards reproducibly, for every builder of records."""

import contextlib
import errno
import inspect
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core import file_adapters, writer
from tensorflow_datasets.proto import tf_example_pb2

from vtmask.datasets import tensorflow
from vtmask.errors import UserError

_DISK_IS_FULL = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]


class RecordBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A TFDS builder whose shards have the same bytes from any process, and are fast to read."""

    def __init__(self, *, tokenizer: str | None = None, file_format: Any = None, **kwargs: Any):
        """Makes a builder of ArrayRecord files.

        Args:
          tokenizer: a file or folder for `vtmask.tokenizers.read_published`.

        Raises:
          UserError: `file_format` is not ArrayRecord, which `vtmask.inputs` reads by index.
        """
        known = file_adapters.FileFormat.ARRAY_RECORD
        if file_format not in (None, known, known.value):
            raise UserError(f"--file_format is {file_format}, expected {known.value}")
        tensorflow.quiet()
        self._given_tokenizer = tokenizer
        super().__init__(file_format=known, **kwargs)

    def __init_subclass__(cls, skip_registration: bool = False, **kwargs: Any) -> None:
        # TFDS would find these with importlib_resources, which it does not install.
        cls.code_path = tfds.core.Path(inspect.getfile(cls))
        cls.pkg_dir_path = cls.code_path.parent
        super().__init_subclass__(skip_registration=skip_registration, **kwargs)

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Builds the data set as TFDS does.

        Raises:
          UserError: the disk is full.
        """
        with _full_disk_named(Path(self.data_path).parent):
            super().download_and_prepare(**kwargs)

    def _example_writer(self) -> writer.ExampleWriter:
        return ShardWriter(self.info.file_format)


class ShardWriter(writer.ExampleWriter):
    """Writes ArrayRecord shards. TFDS hands it to Beam's workers, too.

    By default TFDS writes a record's fields in an order that differs between processes, including
    Beam's workers. It also compresses, which makes features 8 % smaller but reading take nearly
    three times the CPU time (benchmarks/input.md).
    """

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> None:
        """Writes each record as a separate group, so that records can be read at random."""
        shard = ArrayRecordWriter(os.fspath(path), "group_size:1,uncompressed")
        with contextlib.closing(shard):
            for _, serialized in examples:
                example = tf_example_pb2.Example.FromString(serialized)
                shard.write(example.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _full_disk_named(folder: Path) -> Iterator[None]:
    """Turns the errors of TFDS, Beam and ArrayRecord on a full disk into a UserError."""
    try:
        yield
    except Exception as error:
        message = str(error)
        problem = next((problem for problem in _DISK_IS_FULL if problem in message), None)
        if problem is None or isinstance(error, UserError):
            raise
        file = re.search(re.escape(str(folder)) + r"[^;'\"\n]*", message)
        raise UserError(
            f"{file[0] if file else folder}: cannot be written: {problem}; free disk space and "
            "build again. This build was discarded; earlier data sets are unchanged"
        ) from error
