"""A prepared data set on disk: where its shards are, and what made its features and tokens."""

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
_OTHER_FILES = 256  # that a process has open beside its shards
_PARTS = ("tokens", "num_tokens", "start", "end", "label")  # of texts, what samplers read
_INPUTS = ("feature_extractor", "feature_size", "seconds_per_feature", "tokenizer_sha256")


class Dataset:
    """One split of a data set that `tfds build` wrote, read by index.

    Attributes:
      name: as TFDS has it, "demo/default".
      split: "train", or a part of a split as in TFDS, "train[:10%]".
      path: folder of the prepared data set.
      tokenizer: the one its captions were tokenised with.
      feature_extractor: name of what made its features.
      feature_size: their width.
      seconds_per_feature: how much of a video each is of.
      class_names: what the classes of `labels` are called; () where there are none.
      num_records: videos in the split.
    """

    def __init__(self, name: str, split: str, data_dir: str | None = None):
        """Opens and checks all shards; a UserError names one that is missing or damaged."""
        tensorflow.quiet()
        folder = data_dir or str(tfds.core.constants.DATA_DIR)
        if disk.in_bucket(folder):
            disk.resolve(folder)  # or ArrayRecord waits for ever for one that can't be reached
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
        except Exception as error:  # TFDS raises whatever a damaged file leads it to
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
        """Sets what the data set says of itself; returns the split's shards."""
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
        """Serialised records; a UserError where a shard is damaged. Safe to call from threads."""
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
        """What made features and tokens."""
        return {name: getattr(self, name) for name in _INPUTS}

    def require_same_inputs(self, other: Dataset) -> None:
        """UserError unless both have features and tokens of the same making."""
        theirs = other.inputs
        for name, ours in self.inputs.items():
            if ours != theirs[name]:
                raise UserError(
                    f"{self.path}: {name} is {ours}, but {theirs[name]} in {other.path}; data sets "
                    "of a mixture must have the same"
                )

    def parse(self, serialized: tf.Tensor, fields: Sequence[str]) -> dict[str, Any]:
        """Serialised records as tensors; see `vtmask.inputs.parsing.parse`."""
        parts = {field: self._parts(field) for field in fields}
        return parsing.parse(serialized, self.feature_size, self.seconds_per_feature, parts)

    def count_texts(self, field: str) -> int:
        """Texts that a field of all records has; reads the whole split.

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
        """What a field of texts has for a sampler; nothing for `labels`."""
        feature = dict(self._features.items()).get(field)
        if field == "labels" and feature is not None:
            return []
        if not isinstance(feature, tfds.features.FeaturesDict) or "num_tokens" not in feature:
            raise UserError(
                f"{self.path}: data set has no field {field!r}; it does not fit the task"
            )
        return [part for part in _PARTS if part in feature]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Fields of one record: NumPy arrays, lists and strings."""
        record = self._features.deserialize_example_np(self.read([index])[0])
        return jax.tree.map(lambda x: x.decode() if isinstance(x, bytes) else x, record)


def _open(path: str, num_records: int) -> ArrayRecordReader:
    """A reader of the shard, which must have that many records."""
    if not epath.Path(path).exists():
        raise UserError(f"{path}: shard is missing; build the data set again")
    try:
        # A record is read at random and by its caller's thread.
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
    """Raises the process's limit of open files as far as it may, where it has to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number + _OTHER_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
