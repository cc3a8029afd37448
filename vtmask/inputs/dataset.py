"""A prepared data set on disk: its shards, and the origin of its features and tokens."""

from __future__ import annotations

import math
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from etils import epath
from tqdm import tqdm

from vtmask import disk, tokenizers
from vtmask.datasets import tensorflow
from vtmask.datasets.tensorflow import tf
from vtmask.errors import UserError, reason
from vtmask.inputs import parsing

_RECORDS_AT_A_TIME = 64
_OTHER_FILES = 256  # open files of a process, not counting its shards
_PARTS = ("tokens", "num_tokens", "start", "end", "label")  # of texts, as samplers read them
_INPUTS = ("feature_extractor", "feature_size", "seconds_per_feature", "tokenizer_sha256")


class Dataset:
    """One split of a data set that `tfds build` wrote, read by index.

    Attributes:
      name: in TFDS's form, such as "demo/default".
      split: "train", or a part of a split in TFDS's form, such as "train[:10%]".
      path: folder of the prepared data set.
      tokenizer: the tokenizer of its captions.
      feature_extractor: name of the extractor that made its features.
      feature_size: width of the features.
      seconds_per_feature: seconds of video that one feature covers.
      class_names: names of the classes of `labels`; () if there are none.
      num_records: videos in the split.
    """

    def __init__(self, name: str, split: str, data_dir: str | None = None):
        """Opens and checks all shards.

        Raises:
          UserError: the data set or its split doesn't exist, or a file is missing or damaged.
        """
        tensorflow.quiet()
        folder = data_dir or str(tfds.core.constants.DATA_DIR)
        if disk.in_bucket(folder):
            disk.resolve(folder)  # ArrayRecord waits forever for a bucket it can't reach
        self.name, self.split = name, split
        try:
            shards = self._read_info(folder)
        except UserError:
            raise
        except tfds.core.DatasetNotFoundError:
            raise UserError(
                f"data set {name} is not in {folder}; build it with "
                f"`python -m data.build {name.replace('/', ' --config=')} --data_dir={folder}`"
            ) from None
        except Exception as error:  # TFDS can raise anything on a damaged file
            raise UserError(
                f"{folder}/{name}: dataset_info.json, features.json or metadata.json is damaged "
                f"({reason(error)}); build the data set again"
            ) from error
        _allow_open_files(len(shards))
        self._readers = [_open(shard.filename, shard.examples_in_shard) for shard in shards]
        self._paths = [shard.filename for shard in shards]
        self._skips = np.array([shard.skip for shard in shards])
        self._starts = np.cumsum([0] + [shard.take for shard in shards[:-1]])

    def _read_info(self, folder: str) -> Sequence[Any]:
        """Sets the attributes from the data set's own files; returns the split's shards."""
        builder = tfds.core.read_only_builder.builder_from_files(self.name, data_dir=folder)
        self.path: Path = epath.Path(builder.data_path)  # has Path's methods
        known = builder.info.splits
        try:
            info = known[self.split]
        except (ValueError, KeyError, AssertionError):
            names = ", ".join(f"{name} ({part.num_examples})" for name, part in known.items())
            raise UserError(
                f"data set {self.name} in {folder} has no split {self.split!r}; it has {names}"
            ) from None
        self.num_records: int = info.num_examples
        if not self.num_records:
            raise UserError(f"data set {self.name} in {folder}: split {self.split!r} is empty")
        self._features = builder.info.features
        self.feature_size: int = self._features["features"].shape[1]
        metadata = builder.info.metadata or {}
        for field in ("feature_extractor", "tokenizer", "tokenizer_sha256"):
            if not isinstance(metadata.get(field), str):
                raise UserError(f"{self.path}/metadata.json: has no {field}; build it again")
        seconds = metadata.get("seconds_per_feature")
        if not isinstance(seconds, float) or not 0 < seconds < math.inf:
            raise UserError(
                f"{self.path}/metadata.json: has no seconds_per_feature; build it again"
            )
        self.seconds_per_feature: float = seconds
        self.class_names: tuple[str, ...] = tuple(metadata.get("class_names", ()))
        self.feature_extractor: str = metadata["feature_extractor"]
        self.tokenizer_sha256: str = metadata["tokenizer_sha256"]
        self.tokenizer = tokenizers.load(self.path / metadata["tokenizer"])
        if self.tokenizer.sha256 != self.tokenizer_sha256:
            raise UserError(
                f"{self.path / metadata['tokenizer']}: is not the tokenizer these captions were "
                "tokenised with (its hash differs from metadata.json); build the data set again"
            )
        return info.file_instructions

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """Reads serialised records. Safe to call from threads.

        Raises:
          UserError: a shard is damaged.
        """
        records = np.asarray(indices)
        shard = np.searchsorted(self._starts, records, side="right") - 1
        position = records - self._starts[shard] + self._skips[shard]
        serialized: list[bytes] = [b""] * len(records)
        for number in np.unique(shard):
            places = np.flatnonzero(shard == number)
            numbers = position[places].tolist()
            try:
                read = self._readers[number].read(numbers)
            except (RuntimeError, IndexError, ValueError) as error:
                raise UserError(
                    f"{self._paths[number]}: records {numbers} can't be read ({reason(error)}); "
                    "build the data set again"
                ) from error
            for place, record in zip(places, read, strict=True):
                serialized[place] = record
        return serialized

    @property
    def inputs(self) -> dict[str, str | float]:
        """The feature extractor, the features' size and rate, and the tokenizer's hash, by name."""
        return {name: getattr(self, name) for name in _INPUTS}

    def require_same_inputs(self, other: Dataset) -> None:
        """Raises a UserError unless `inputs` of both data sets are equal."""
        theirs = other.inputs
        for name, ours in self.inputs.items():
            if ours != theirs[name]:
                raise UserError(
                    f"{self.path}: {name} is {ours}, but {theirs[name]} in {other.path}; the data "
                    "sets of a mixture must agree"
                )

    def parse(self, serialized: tf.Tensor, fields: Sequence[str]) -> dict[str, Any]:
        """Parses serialised records into tensors; see `vtmask.inputs.parsing.parse`."""
        parts = {field: self._parts(field) for field in fields}
        return parsing.parse(serialized, self.feature_size, self.seconds_per_feature, parts)

    def count_texts(self, field: str) -> int:
        """Counts the texts of a field in all records; reads the complete split.

        Raises:
          UserError: the data set has no such field of texts.
        """
        self._parts(field)
        specs = {f"{field}/num_tokens": tf.io.RaggedFeature(tf.int64)}
        count = 0
        starts = range(0, self.num_records, _RECORDS_AT_A_TIME)
        for start in tqdm(starts, f"count {field}", leave=False, disable=len(starts) < 8):
            end = min(start + _RECORDS_AT_A_TIME, self.num_records)
            parsed = tf.io.parse_example(self.read(range(start, end)), specs)
            count += int(tf.size(parsed[f"{field}/num_tokens"].flat_values))
        return count

    def _parts(self, field: str) -> list[str]:
        """Names the parts of a field of texts that samplers read; [] for `labels`."""
        feature = dict(self._features.items()).get(field)
        if field == "labels" and feature is not None:
            return []
        if not isinstance(feature, tfds.features.FeaturesDict) or "num_tokens" not in feature:
            raise UserError(
                f"{self.path}: data set has no field {field!r}; it does not fit the task"
            )
        return [part for part in _PARTS if part in feature]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns the fields of one record: NumPy arrays, lists and strings."""
        record = self._features.deserialize_example_np(self.read([index])[0])
        return jax.tree.map(lambda x: x.decode() if isinstance(x, bytes) else x, record)


def _open(path: str, num_records: int) -> ArrayRecordReader:
    """Opens a shard, which must have `num_records` records."""
    if not epath.Path(path).exists():
        raise UserError(f"{path}: shard is missing; build the data set again")
    try:
        # Records are read in random order, each in its caller's thread.
        reader = ArrayRecordReader(path, "readahead_buffer_size:0,max_parallelism:0")
        count = reader.num_records()
    except RuntimeError as error:
        raise UserError(
            f"{path}: shard is truncated or damaged ({reason(error)}); build the data set again"
        ) from None
    if count != num_records:
        raise UserError(
            f"{path}: shard is truncated or damaged: it has {count} records, dataset_info.json "
            f"says {num_records}; build the data set again"
        )
    return reader


def _allow_open_files(number: int) -> None:
    """Raises the process's limit of open files to the hard limit if `number` more exceed it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number + _OTHER_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
