"""Batches of clips: a pure function of (seed, step), whatever the number of hosts.

Step s reads the records at positions [s * R, (s + 1) * R) of an endless sequence, R records a
batch. Every epoch of a data set is a permutation of its own; with one data set an epoch is cut to
whole batches, so that no batch has a video twice. All clips of a step are drawn with random numbers
keyed by (seed, step). A resume is a seek; a host reads its own part of R.

Several data sets mix in fixed proportions: slots of a cycle of `CYCLE` positions are dealt out to
them as evenly as their weights allow.
"""

import dataclasses
import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from vtmask.errors import UserError
from vtmask.inputs import clips
from vtmask.inputs.dataset import Dataset

Batch = dict[str, np.ndarray]
CYCLE = 10_000
_BATCHES_AHEAD = 2
_PARALLEL_BATCHES = min(os.cpu_count() or 1, 8)


@dataclasses.dataclass(frozen=True)
class TrainingBatches:
    """Shuffled batches without end.

    Attributes:
      datasets: one or several of the same tokenizer and features.
      batch_size: clips of the global batch; a multiple of the sampler's clips per record times the
        number of hosts.
      seed: of order and clips.
      weights: how often a record of each data set comes, relative to the others.
      host, num_hosts: which part of each batch to give.
    """

    datasets: Sequence[Dataset]
    sampler: clips.Sampler
    batch_size: int
    seed: int
    weights: Sequence[float] = (1.0,)
    host: int = 0
    num_hosts: int = 1

    def __post_init__(self) -> None:
        share = self.sampler.clips_per_record * self.num_hosts
        if self.batch_size % share:
            raise UserError(
                f"batch_size is {self.batch_size}, expected a multiple of {share}: clips per "
                f"record ({self.sampler.clips_per_record}) times hosts ({self.num_hosts})"
            )
        for dataset in self.datasets[1:]:
            dataset.require_same_inputs(self.datasets[0])

    def from_step(self, start_step: int) -> Iterator[Batch]:
        """This host's part of the batches of `start_step` and after."""
        share = self._records_per_batch // self.num_hosts
        mine = slice(self.host * share, (self.host + 1) * share)

        def plan(step: tf.Tensor) -> _Plan:
            part, index = self._locate(step)
            return part[mine], index[mine], self._random(step)[mine]

        steps = tf.data.Dataset.counter(start_step, dtype=tf.int64)
        return _batches(self.datasets, self.sampler, steps.map(plan))

    def video_ids(self, step: int) -> list[str]:
        """The videos of a step's global batch, each once a record, for error messages."""
        part, index = self._locate(tf.constant(step, tf.int64))
        where = zip(part.numpy(), index.numpy(), strict=True)
        return [self.datasets[p][int(i)]["video_id"] for p, i in where]

    @property
    def inputs(self) -> Mapping[str, str]:
        """What made features and tokens."""
        return self.datasets[0].inputs

    @property
    def _records_per_batch(self) -> int:
        return self.batch_size // self.sampler.clips_per_record

    @functools.cached_property
    def _cycle(self) -> np.ndarray:
        return cycle(self.weights, [dataset.name for dataset in self.datasets])

    def _locate(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Data set and index in it of each record of a step's global batch, [R] each."""
        records = self._records_per_batch
        counts = np.array([dataset.num_records for dataset in self.datasets])
        position = step * records + tf.range(records, dtype=tf.int64)
        if len(counts) == 1:
            part, rank = tf.zeros_like(position), position
            epochs = counts - counts % records if records <= counts[0] else counts
        else:
            dealt = self._cycle == np.arange(len(counts))[:, None]
            slot = position % CYCLE
            part = tf.gather(tf.constant(self._cycle), slot)
            before = np.cumsum(dealt, axis=1)[self._cycle, np.arange(CYCLE)] - 1
            rank = (position // CYCLE) * tf.gather(dealt.sum(axis=1), part)
            rank += tf.gather(before, slot)
            epochs = counts
        epoch = tf.gather(epochs, part)
        seed = tf.stack([tf.fill([records], tf.cast(self.seed, tf.int64)), part, rank // epoch], 1)
        last = tf.gather(counts, part) - 1
        # The public tf.random.experimental.index_shuffle takes no seed for each index.
        return part, tf.raw_ops.RandomIndexShuffle(index=rank % epoch, seed=seed, max_index=last)

    def _random(self, step: tf.Tensor) -> tf.Tensor:
        """Random int64 [R, K, draws] of a step's global batch."""
        shape = [self._records_per_batch, self.sampler.clips_per_record, self.sampler.draws]
        return tf.random.stateless_uniform(shape, [self.seed, step], None, None, tf.int64)


def cycle(weights: Sequence[float], names: Sequence[str]) -> np.ndarray:
    """Which data set each of `CYCLE` slots belongs to: int64, every prefix close to the weights.

    Raises:
      UserError: weights and names differ in number, or a weight is too small to get a slot.
    """
    if len(weights) != len(names) or not all(weight > 0 for weight in weights):
        raise UserError(
            f"config.data: weights {tuple(weights)} for {', '.join(names)}; expected one positive "
            "number for each data set"
        )
    share = np.array(weights) / np.sum(weights)
    quota = np.floor(share * CYCLE).astype(int)
    quota[np.argsort(quota - share * CYCLE, kind="stable")[: CYCLE - quota.sum()]] += 1
    if not quota.all():
        raise UserError(
            f"config.data: the weight of {names[int(np.argmin(quota))]} is less than 1 in {CYCLE}"
        )
    # The i-th of a data set's q slots belongs at (i + 1/2) / q of the cycle.
    due = np.concatenate([(np.arange(q) + 0.5) / q for q in quota])
    return np.repeat(np.arange(len(quota)), quota)[np.argsort(due, kind="stable")]


def evaluation_batches(
    dataset: Dataset, sampler: clips.Sampler, batch_size: int
) -> Iterator[tuple[Batch, int]]:
    """All records once, in order: batches of one size and how many of each batch's clips count.

    The last batch is filled up by repeating its last record.
    """
    shape = [batch_size, sampler.clips_per_record, sampler.draws]

    def plan(first: tf.Tensor) -> _Plan:
        index = tf.minimum(first + tf.range(batch_size, dtype=tf.int64), dataset.num_records - 1)
        random = tf.random.stateless_uniform(shape, [0, first], None, None, tf.int64)
        return tf.zeros_like(index), index, random

    firsts = range(0, dataset.num_records, batch_size)
    plans = tf.data.Dataset.range(0, dataset.num_records, batch_size).map(plan)
    for first, batch in zip(firsts, _batches([dataset], sampler, plans), strict=True):
        yield batch, min(batch_size, dataset.num_records - first)


_Plan = tuple[tf.Tensor, tf.Tensor, tf.Tensor]  # data set and index [R], random [R, K, draws]


def _batches(
    datasets: Sequence[Dataset], sampler: clips.Sampler, plans: tf.data.Dataset
) -> Iterator[Batch]:
    """Reads what each plan names and draws its clips."""
    failures: list[UserError] = []
    paths = tf.constant([str(dataset.path) for dataset in datasets])

    def read(part: np.ndarray, index: np.ndarray) -> np.ndarray:
        serialized = np.full(len(index), b"", object)
        try:
            for i, dataset in enumerate(datasets):
                serialized[part == i] = dataset.read(index[part == i])
        except UserError as error:
            failures.append(error)
            return np.array([b""])  # which has no features: it ends there
        return serialized

    def draw(part: tf.Tensor, index: tf.Tensor, random: tf.Tensor) -> clips.Clips:
        serialized = tf.numpy_function(read, [part, index], tf.string, stateful=False)
        records = datasets[0].parse(tf.ensure_shape(serialized, [None]), sampler.field)
        records["path"] = tf.gather(paths, part)
        _check(records, sampler.field)
        drawn = sampler(records, random)
        size = random.shape[0] * random.shape[1]
        return {k: tf.reshape(v, [size, *v.shape[2:]]) for k, v in drawn.items()}

    batches = plans.map(draw, num_parallel_calls=_PARALLEL_BATCHES, deterministic=True)
    iterator = batches.prefetch(_BATCHES_AHEAD).as_numpy_iterator()
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            raise failures[0] if failures else _user_error(error) from None
        yield batch


def _check(records: clips.Records, field: str) -> None:
    """Stops the pipeline at a record no model should see."""
    finite = tf.reduce_all(tf.math.is_finite(records["features"]), axis=[1, 2])
    clips.require(finite, records, "field features is not finite; extract this video again")
    if "start" in records[field]:
        ordered = tf.reduce_all(records[field]["end"] >= records[field]["start"], axis=1)
        problem = f"field {field}: one ends before it starts; mend or drop it"
        clips.require(ordered, records, problem)


def _user_error(error: tf.errors.OpError) -> UserError:
    found = re.search(r"<<(.*?)>>", error.message)
    return UserError(found.group(1) if found else error.message.splitlines()[0])
