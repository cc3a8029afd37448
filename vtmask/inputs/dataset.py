"""A prepared data set on disk: where its shards are, and what made its features and tokens."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import tensorflow as tf
import tensorflow_datasets as tfds
from array_record.python import array_record_data_source

from vtmask import tokenizers
from vtmask.errors import UserError, reason
from vtmask.inputs import records


class Dataset:
    """One split of a data set that `tfds build` wrote, read by index.

    Attributes:
      name: as TFDS has it, "demo/default".
      split: "train", or a part of a split as in TFDS, "train[:10%]".
      path: folder of the prepared data set.
      tokenizer: the one its captions were tokenised with.
      feature_extractor: name of what made its features.
      feature_size: their width.
      num_records: videos in the split.
    """

    def __init__(self, name: str, split: str, data_dir: str | None = None):
        """Opens and checks all shards; a UserError names one that is missing or damaged."""
        try:
            builder = tfds.core.read_only_builder.builder_from_files(name, data_dir=data_dir)
        except tfds.core.DatasetNotFoundError:
            folder = data_dir or tfds.core.constants.DATA_DIR
            raise UserError(
                f"data set {name} is not in {folder}; build it with "
                f"`python -m data.build {name.replace('/', ' --config=')} --data_dir={folder}`"
            ) from None
        self.name, self.split, self.path = name, split, Path(builder.data_path)
        try:
            info = builder.info.splits[split]
        except (ValueError, KeyError, AssertionError):
            known = ", ".join(f"{k} ({v.num_examples})" for k, v in builder.info.splits.items())
            raise UserError(f"data set {name} has no split {split!r}; it has {known}") from None
        self.num_records: int = info.num_examples
        if not self.num_records:
            raise UserError(f"data set {name}: split {split!r} is empty")
        self._source = self._open(info.file_instructions)
        self._features = builder.info.features
        self.feature_size: int = self._features["features"].shape[1]
        metadata = builder.info.metadata or {}
        for field in ("feature_extractor", "tokenizer", "tokenizer_sha256"):
            if field not in metadata:
                raise UserError(f"{self.path}/metadata.json: has no {field}; build it again")
        self.feature_extractor: str = metadata["feature_extractor"]
        self.tokenizer = tokenizers.load(self.path / metadata["tokenizer"])
        if self.tokenizer.sha256 != metadata["tokenizer_sha256"]:
            raise UserError(
                f"{self.path / metadata['tokenizer']}: is not the tokenizer these captions were "
                "tokenised with (its hash differs from metadata.json); build the data set again"
            )

    def _open(self, shards: Sequence[Any]) -> array_record_data_source.ArrayRecordDataSource:
        for shard in shards:
            if not Path(shard.filename).exists():
                raise UserError(f"{shard.filename}: shard is missing; build the data set again")
            try:
                found = len(array_record_data_source.ArrayRecordDataSource(shard.filename))
            except RuntimeError as error:
                raise UserError(
                    f"{shard.filename}: shard is truncated or damaged "
                    f"({reason(error)}); build the data set again"
                ) from None
            if found != shard.examples_in_shard:
                raise UserError(
                    f"{shard.filename}: shard has {found} records, dataset_info.json says "
                    f"{shard.examples_in_shard}; build the data set again"
                )
        return array_record_data_source.ArrayRecordDataSource(shards)

    def read(self, indices: Iterable[int]) -> list[bytes]:
        """Serialised records; a UserError where a shard is damaged."""
        wanted = [int(i) for i in indices]
        try:
            return self._source.__getitems__(wanted)
        except (RuntimeError, IndexError, ValueError) as error:
            raise UserError(
                f"{self.path}: records {wanted} of split {self.split!r} can't be read "
                f"({reason(error)}); build the data set again"
            ) from error

    @property
    def inputs(self) -> dict[str, str]:
        """What made features and tokens."""
        return {name: getattr(self, name) for name in ("feature_extractor", "tokenizer_sha256")}

    def require_same_inputs(self, other: "Dataset") -> None:
        """UserError unless both have features and tokens of the same making."""
        for name in ("feature_extractor", "feature_size", "tokenizer_sha256"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise UserError(
                    f"{self.path}: {name} is {ours}, but {theirs} in {other.path}; data sets of a "
                    "mixture must have the same"
                )

    def parse(self, serialized: tf.Tensor, field: str) -> dict[str, Any]:
        """Serialised records as tensors; see `vtmask.inputs.records.parse`."""
        texts = self._features[field] if field in self._features else {}
        if "num_tokens" not in texts:
            raise UserError(f"data set {self.name}: has no field {field!r} of texts")
        return records.parse(serialized, self.feature_size, field, timed="start" in texts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Fields of one record: NumPy arrays, lists and strings."""
        record = self._features.deserialize_example_np(self.read([index])[0])
        return jax.tree.map(lambda x: x.decode() if isinstance(x, bytes) else x, record)
