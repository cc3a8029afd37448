"""Batches of clips: a pure function of (seed, step), independent of the number of hosts.

Step s reads the records at positions [s * R, (s + 1) * R) of an endless sequence, R records per
batch. Each epoch of a data set is a new permutation. With a single data set, an epoch is cut to
full batches, so that no batch has a video twice. Random numbers keyed by (seed, step) draw all
clips of a step. Resuming is a seek; each host reads its own part of the R records.

Several data sets mix in fixed proportions. Each has slots in a cycle of `CYCLE` positions, spread
as evenly as the weights allow.
"""

from __future__ import annotations

import codecs
import dataclasses
import functools
import os
import re
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from vtmask.datasets.tensorflow import tf
from vtmask.errors import UserError
from vtmask.inputs import cutting, samplers
from vtmask.inputs.dataset import Dataset

Batch = dict[str, np.ndarray]
CYCLE = 10_000
_BATCHES_AHEAD = 2
_PARALLEL_BATCHES = min(os.cpu_count() or 1, 8)


@dataclasses.dataclass(frozen=True)
class TrainingBatches:
    """Endless shuffled batches.

    Attributes:
      datasets: one or more data sets with the same tokenizer and features.
      sampler: draws the clips of each record.
      batch_size: clips in the global batch; a multiple of the sampler's clips per record times the
        number of hosts.
      seed: of the records' order and of the clips.
      weights: relative frequency of each data set's records.
      host, num_hosts: the part of each batch to yield.
    """

    datasets: Sequence[Dataset]
    sampler: samplers.Sampler
    batch_size: int
    seed: int
    weights: Sequence[float] = (1.0,)
    host: int = 0
    num_hosts: int = 1

    def __post_init__(self) -> None:
        share = self.sampler.clips_per_record * self.num_hosts
        if self.batch_size % share:
            raise UserError(
                f"batch_size is {self.batch_size}, expected a multiple of {share}: "
                f"sampler.clips_per_record ({self.sampler.clips_per_record}) times parts that "
                f"processes read ({self.num_hosts})"
            )
        for dataset in self.datasets[1:]:
            dataset.require_same_inputs(self.datasets[0])

    def from_step(self, start_step: int) -> Generator[Batch, None, None]:
        """Yields this host's part of the batches from `start_step` on."""
        mine = self._host_slice

        @tf.autograph.experimental.do_not_convert
        def plan(step: tf.Tensor) -> _Plan:
            part, index = self._locate(step)
            return part[mine], index[mine], self._random(step)[mine]

        steps = tf.data.Dataset.counter(start_step, dtype=tf.int64)
        return _batches(self._make_batch, steps.map(plan))

    def in_order(self, order: np.ndarray, start_step: int) -> Generator[Batch, None, None]:
        """Yields this host's part of batches of the given records of a single data set.

        Args:
          order: indices of each batch's records, [batches, R].
          start_step: step of the first batch; keys the random numbers.
        """
        mine = self._host_slice

        @tf.autograph.experimental.do_not_convert
        def plan(step: tf.Tensor, index: tf.Tensor) -> _Plan:
            return tf.zeros_like(index), index, self._random(step)[mine]

        steps = np.arange(start_step, start_step + len(order), dtype=np.int64)
        plans = tf.data.Dataset.from_tensor_slices((steps, order[:, mine]))
        return _batches(self._make_batch, plans.map(plan))

    def records(self, step: int) -> list[tuple[Dataset, int]]:
        """Returns the data set, and the index in it, of each record of a step's global batch."""
        part, index = self._locate(tf.constant(step, tf.int64))
        pairs = zip(part.numpy(), index.numpy().tolist(), strict=True)
        return [(self.datasets[i], record) for i, record in pairs]

    def video_ids(self, step: int) -> list[str]:
        """Returns the video of each record of a step's global batch, for error messages."""
        return [dataset[index]["video_id"] for dataset, index in self.records(step)]

    @property
    def inputs(self) -> Mapping[str, str | float]:
        """See `vtmask.inputs.dataset.Dataset.inputs`."""
        return self.datasets[0].inputs

    @property
    def records_per_batch(self) -> int:
        """R, the number of records in the global batch."""
        return self.batch_size // self.sampler.clips_per_record

    @functools.cached_property
    def epoch_size(self) -> int:
        """Number of clips in an epoch: every text once if the sampler draws annotated texts,
        otherwise `clips_per_record` per video."""
        field = self.sampler.epoch_field
        if field is None:
            videos = sum(dataset.num_records for dataset in self.datasets)
            return videos * self.sampler.clips_per_record
        return sum(dataset.count_texts(field) for dataset in self.datasets)

    @property
    def _host_slice(self) -> slice:
        share = self.records_per_batch // self.num_hosts
        return slice(self.host * share, (self.host + 1) * share)

    @functools.cached_property
    def _make_batch(self) -> _BatchMaker:
        return _batch_maker(self.datasets, self.sampler)

    @functools.cached_property
    def _cycle(self) -> np.ndarray:
        return cycle(self.weights, [dataset.name for dataset in self.datasets])

    def _locate(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the data set, and the index in it, of each record of a step, [R] each."""
        records = self.records_per_batch
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
        # The public tf.random.experimental.index_shuffle takes one seed for all indices.
        return part, tf.raw_ops.RandomIndexShuffle(index=rank % epoch, seed=seed, max_index=last)

    def _random(self, step: tf.Tensor) -> tf.Tensor:
        """Draws the random int64 [R, K, draws] of a step's global batch."""
        shape = [self.records_per_batch, self.sampler.clips_per_record, self.sampler.draws]
        return tf.random.stateless_uniform(shape, [self.seed, step], None, None, tf.int64)


def cycle(weights: Sequence[float], names: Sequence[str]) -> np.ndarray:
    """Assigns a data set to each of `CYCLE` slots: int64, every prefix close to the weights.

    Raises:
      UserError: weights and names differ in number, a weight is not positive, or one is too small
        to get a slot.
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
            f"config.data: {names[int(np.argmin(quota))]} gets less than 1/{CYCLE} of the mixture; "
            "raise its weight or leave it out"
        )
    # The i-th of a data set's q slots belongs at (i + 1/2) / q of the cycle.
    due = np.concatenate([(np.arange(q) + 0.5) / q for q in quota])
    return np.repeat(np.arange(len(quota)), quota)[np.argsort(due, kind="stable")]


_Plan = tuple[Any, Any, Any]  # tensors: data set and index [R], random [R, K, draws]
_BatchMaker = Callable[[np.ndarray, np.ndarray, np.ndarray], Batch]


def _batches(make: _BatchMaker, plans: tf.data.Dataset) -> Generator[Batch, None, None]:
    """Reads the records of each plan and draws their clips, a few batches ahead.

    It uses Python threads, not `tf.numpy_function` in tf.data: threads of tf.data could call into
    Python while it shuts down, and deadlock.
    """
    pending: deque[Future[Batch]] = deque()
    pool = ThreadPoolExecutor(_PARALLEL_BATCHES, "batches")
    try:
        for plan in plans.as_numpy_iterator():
            pending.append(pool.submit(make, *plan))
            if len(pending) > _PARALLEL_BATCHES + _BATCHES_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for batch in pending:
            batch.cancel()


def _batch_maker(datasets: Sequence[Dataset], sampler: samplers.Sampler) -> _BatchMaker:
    """Makes a function from plan to batch, which may run in several threads at once."""

    strings = tf.TensorSpec([None], tf.string)
    numbers = tf.TensorSpec([None, sampler.clips_per_record, sampler.draws], tf.int64)

    @tf.function(input_signature=[strings, strings, numbers], autograph=False)
    def draw(serialized: tf.Tensor, path: tf.Tensor, random: tf.Tensor) -> cutting.Clips:
        records = datasets[0].parse(serialized, sampler.fields) | {"path": path}
        _check(records, sampler.fields)
        drawn = sampler(records, random)
        return {name: tf.reshape(x, [-1, *x.shape[2:]]) for name, x in drawn.items()}

    def make(part: np.ndarray, index: np.ndarray, random: np.ndarray) -> Batch:
        serialized = np.empty(len(index), object)
        for i in np.unique(part):
            serialized[part == i] = datasets[i].read(index[part == i])
        try:
            batch = draw(serialized, [str(datasets[i].path) for i in part], random)
        except tf.errors.OpError as error:
            raise _user_error(error) from None
        return {name: np.asarray(memoryview(x)) for name, x in batch.items()}

    return make


def _check(records: cutting.Records, fields: Sequence[str]) -> None:
    """Stops the pipeline at a record that no model should see."""
    cutting.require(records["num_features"] > 0, records, "field features is empty; build it again")
    finite = tf.reduce_all(tf.math.is_finite(records["features"]), axis=[1, 2])
    cutting.require(finite, records, "field features is not finite; extract this video again")
    for field in fields:
        if "start" in records[field]:
            ordered = tf.reduce_all(records[field]["end"] >= records[field]["start"], axis=1)
            problem = f"field {field}: a text ends before it starts; fix or drop it"
            cutting.require(ordered, records, problem)


def _user_error(error: tf.errors.OpError) -> UserError:
    match = re.search(r"<<(.*?)>>", error.message)
    if not match:
        return UserError(error.message.splitlines()[0])
    text, _ = codecs.escape_decode(match.group(1).encode())  # TensorFlow escapes all but ASCII
    return UserError(text.decode(errors="replace"))
