"""Batches of clips: a pure function of (seed, step), whatever the number of hosts.

Step s reads the records at positions [s * R, (s + 1) * R) of an endless sequence, R records a
batch. Every epoch of the sequence is a permutation of its own, cut to whole batches so that no
batch has a video twice. The clips of position p are drawn with random numbers keyed by (seed, p). A
resume is a seek; a host reads its own part of R.
"""

import dataclasses
import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from vtmask.errors import UserError
from vtmask.inputs import clips
from vtmask.inputs.dataset import Dataset

Batch = dict[str, np.ndarray]
RECORDS_PER_READ = 64


@dataclasses.dataclass(frozen=True)
class TrainingBatches:
    """Shuffled batches without end.

    Attributes:
      batch_size: clips of the global batch; a multiple of the sampler's clips per record times the
        number of hosts.
      seed: of order and clips.
      host, num_hosts: which part of each batch to give.
    """

    dataset: Dataset
    sampler: clips.Sampler
    batch_size: int
    seed: int
    host: int = 0
    num_hosts: int = 1

    def __post_init__(self) -> None:
        share = self.sampler.clips_per_record * self.num_hosts
        if self.batch_size % share:
            raise UserError(
                f"batch_size is {self.batch_size}, expected a multiple of {share}: clips per "
                f"record ({self.sampler.clips_per_record}) times hosts ({self.num_hosts})"
            )

    def from_step(self, start_step: int) -> Iterator[Batch]:
        """This host's part of the batches of `start_step` and after."""
        records = self._records_per_batch
        per_host = records // self.num_hosts
        ranks = tf.data.Dataset.counter(start_step).flat_map(
            lambda step: tf.data.Dataset.range(
                step * records + self.host * per_host, step * records + (self.host + 1) * per_host
            )
        )
        positions = ranks.map(lambda p: (self._record_index(p), p))
        return _batches(self.dataset, positions, self.sampler, self.seed, per_host)

    def video_ids(self, step: int) -> list[str]:
        """The videos of a step's global batch, each once a record, for error messages."""
        records = self._records_per_batch
        positions = range(step * records, (step + 1) * records)
        indices = [self._record_index(tf.constant(p, tf.int64)) for p in positions]
        return [self.dataset[int(index)]["video_id"] for index in indices]

    @property
    def inputs(self) -> dict[str, str]:
        """What made features and tokens."""
        return {
            "feature_extractor": self.dataset.feature_extractor,
            "tokenizer_sha256": self.dataset.tokenizer.sha256,
        }

    @property
    def _records_per_batch(self) -> int:
        return self.batch_size // self.sampler.clips_per_record

    def _record_index(self, position: tf.Tensor) -> tf.Tensor:
        count, records = self.dataset.num_records, self._records_per_batch
        epoch = count - count % records if records <= count else count
        seed = tf.stack([tf.constant(self.seed, tf.int64), position // epoch])
        return tf.random.experimental.index_shuffle(
            position % epoch, seed, tf.constant(count - 1, tf.int64)
        )


def evaluation_batches(
    dataset: Dataset, sampler: clips.Sampler, batch_size: int
) -> Iterator[tuple[Batch, int]]:
    """All records once, in order: batches of one size and how many of each batch's clips count.

    The last batch is filled up by repeating its last record.
    """
    padded = -(-dataset.num_records // batch_size) * batch_size
    positions = tf.data.Dataset.range(padded).map(
        lambda p: (tf.minimum(p, dataset.num_records - 1), p)
    )
    for i, batch in enumerate(_batches(dataset, positions, sampler, 0, batch_size)):
        yield batch, min(batch_size, dataset.num_records - i * batch_size)


def _batches(
    dataset: Dataset, positions: tf.data.Dataset, sampler: clips.Sampler, seed: int, records: int
) -> Iterator[Batch]:
    """Reads (record index, position) pairs, draws clips, and gathers `records` of them a batch."""
    failures: list[UserError] = []

    def read(indices: np.ndarray) -> np.ndarray:
        try:
            return np.array(dataset.read(indices), object)
        except UserError as error:
            failures.append(error)
            return np.array([b""] * len(indices), object)  # which can't be parsed: it ends there

    def draw(serialized: tf.Tensor, position: tf.Tensor) -> clips.Clips:
        record = dataset.deserialize(serialized)
        _check(record)
        key = tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), position)
        return sampler(record, key)

    def read_batch(indices: tf.Tensor, positions: tf.Tensor) -> tf.data.Dataset:
        serialized = tf.numpy_function(read, [indices], tf.string, stateful=False)
        return tf.data.Dataset.from_tensor_slices((tf.ensure_shape(serialized, [None]), positions))

    size = records * sampler.clips_per_record
    batches = (
        positions.batch(min(records, RECORDS_PER_READ))
        .flat_map(read_batch)
        .map(draw, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(records, drop_remainder=True)
        .map(lambda batch: {k: tf.reshape(v, [size, *v.shape[2:]]) for k, v in batch.items()})
        .prefetch(tf.data.AUTOTUNE)
    )
    iterator = batches.as_numpy_iterator()
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            raise failures[0] if failures else _user_error(dataset, error) from None
        yield batch


def _check(record: clips.Record) -> None:
    """Stops the pipeline at a record no model should see."""
    finite = tf.reduce_all(tf.math.is_finite(record["features"]))
    captions = record["captions"]
    ordered = tf.reduce_all(captions["end"] >= captions["start"])
    clips.require(finite, record, "field features is not finite; extract this video again")
    clips.require(ordered, record, "field captions: one ends before it starts; mend or drop it")


def _user_error(dataset: Dataset, error: tf.errors.OpError) -> UserError:
    found = re.search(r"<<(.*?)>>", error.message)
    reason = found.group(1) if found else error.message.splitlines()[0]
    return UserError(f"{dataset.path}: {reason}")
