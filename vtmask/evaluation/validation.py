"""Validation during training: figures of the model on videos that it is not trained on.

A validation is a function of the parameters, on one device. It uses none of the run's random
numbers, so training with and without validation is bitwise the same.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from vtmask import models
from vtmask.evaluation import base, metrics
from vtmask.evaluation.by_task import EVALUATIONS
from vtmask.export import Model
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.pipeline import Batch, TrainingBatches
from vtmask.models import AnyModel
from vtmask.tasks.base import Task
from vtmask.tasks.encoding import Encoding, Separate
from vtmask.training.step import step_keys

CLIPS = 512  # for pre-training's loss
PAIRS = 256  # clips to match with their texts


@dataclasses.dataclass(frozen=True)
class TaskValidation:
    """The headline figures of a task's evaluation, as `evaluate.py` computes them.

    Attributes:
      model: its parameters are not read.
      settings: the recipe's `config.eval`.
    """

    model: Model
    task_name: str
    task: Task
    dataset: Dataset
    settings: ConfigDict

    def __call__(self, params: Any) -> dict[str, float]:
        """Computes the figures, named ROW/COLUMN, such as "text_to_video/R@1"."""
        model = dataclasses.replace(self.model, params=params)
        with base.without_progress_bars():
            evaluation = EVALUATIONS[self.task_name](model, self.task, self.dataset, self.settings)
        return {
            f"{row}/{column}".replace(" ", "_"): evaluation.metrics[row][column]
            for row, column in evaluation.headline
        }


@dataclasses.dataclass(frozen=True)
class PretrainingValidation:
    """Figures of pre-training: the loss, and problems that the loss does not show.

    - The loss and its parts, without dropout, on the first batches, `CLIPS` clips or slightly more.
      Clips and masks are the same at every call.
    - `frame_spread`: the mean distance of a frame's hidden state from the mean of all, divided by
      the norm of that mean. It falls towards 0 if all frames are embedded alike, which the loss
      does not show.
    - `alignment/R@1`: the share of texts whose own clip scores highest among `PAIRS` clips of
      different videos, and `alignment/chance`, its value by chance. Each modality runs alone.

    Attributes:
      batches: of the split to validate on.
      seed: of the masks.
    """

    model: AnyModel
    task: Task
    batches: TrainingBatches
    seed: int
    encoding: Encoding = Separate()

    def __call__(self, params: Any) -> dict[str, float]:
        figures: list[dict[str, Array]] = []
        size = self.batches.batch_size
        clips = islice(self._batches(), max(-(-CLIPS // size), 1))
        for step, batch in enumerate(clips):
            figures.append(self._loss(params, batch, *step_keys(self.seed, step)))
        means = jax.tree.map(lambda *values: float(np.mean(values)), *figures)
        frames, videos, texts = self._embedded_pairs(params)
        center = frames.mean(axis=0)
        spread = np.linalg.norm(frames - center, axis=1).mean() / np.linalg.norm(center)
        return means | {
            "frame_spread": float(spread),
            "alignment/R@1": metrics.retrieval(texts @ videos.T)["R@1"],
            "alignment/chance": 1 / len(videos),
        }

    def _batches(self) -> Iterator[Batch]:
        stream = self.batches.from_step(0)
        try:
            yield from stream
        finally:
            stream.close()

    def _embedded_pairs(self, params: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Encodes clips: hidden states of frames [frames, H], pooled videos and texts [N, H]."""
        per_record = self.batches.sampler.clips_per_record
        count = min(PAIRS, sum(dataset.num_records for dataset in self.batches.datasets))
        needed = -(-count // self.batches.records_per_batch)
        parts = []
        for batch in islice(self._batches(), needed):
            pairs = {name: values[::per_record] for name, values in batch.items()}
            frames, videos, texts = jax.device_get(self._embed(params, pairs))
            parts.append((frames[pairs["video_mask"]], videos, texts))
        frames, videos, texts = (np.concatenate(values) for values in zip(*parts, strict=True))
        return frames, videos[:count], texts[:count]

    @functools.cached_property
    def _loss(self) -> Callable[..., dict[str, Array]]:
        config = dataclasses.replace(self.model.config, dropout_rate=0.0)
        loss = nn.apply(self.task.loss, models.create(config))

        @jax.jit
        def figures(params: Any, batch: Batch, key: Array, dropout_key: Array) -> dict[str, Array]:
            value, parts = loss({"params": params}, batch, key, rngs={"dropout": dropout_key})
            return {"loss": value, **parts}

        return figures

    @functools.cached_property
    def _embed(self) -> Callable[..., tuple[Array, Array, Array]]:
        def embed(model: AnyModel, batch: dict[str, Array]) -> tuple[Array, Array, Array]:
            video, video_mask = batch["video"], batch["video_mask"]
            return (
                self.encoding.encode_frames(model, video, video_mask),
                self.encoding.embed_video(model, video, video_mask),
                self.encoding.embed_text(model, batch["text"], batch["text_mask"]),
            )

        apply = jax.jit(nn.apply(embed, self.model))
        return lambda params, batch: apply({"params": params}, jax.tree.map(jnp.asarray, batch))
