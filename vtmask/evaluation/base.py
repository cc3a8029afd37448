"""The common parts of evaluations: running a model on examples, and the result, `Evaluation`."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from tqdm import tqdm

from vtmask.errors import UserError
from vtmask.evaluation import windows
from vtmask.evaluation.report import Figure, Group, Table
from vtmask.export import Model
from vtmask.inputs import examples
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.examples import Example
from vtmask.models import AnyModel, VLMConfig

Record = dict[str, Any]
_PROGRESS_BARS = ContextVar("progress_bars", default=True)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results of a model on a split.

    Attributes:
      metrics: rows of named figures, such as {"text to video": {"R@1": 0.42}}.
      intervals: 95 % bootstrap intervals over the split's examples, for some figures of `metrics`.
      baselines: rows of the same figures for predictions that ignore the video.
      headline: (row, column) of the figures to show first.
      explanation: the meaning of the figures.
      figures, groups: plots and examples for the report.
      predictions: a JSON object for each example, for other scorers.
    """

    metrics: Table
    intervals: Mapping[str, Mapping[str, tuple[float, float]]]
    baselines: Table
    headline: Sequence[tuple[str, str]]
    explanation: str
    figures: Sequence[Figure]
    groups: Sequence[Group]
    predictions: Sequence[Mapping[str, Any]]


def records(dataset: Dataset, *fields: str) -> Iterator[Record]:
    """Yields all records of a split, in order.

    Args:
      fields: required in every record, besides "video_id" and "features", [features, size].

    Raises:
      UserError: the data set lacks one of the fields, or a video has no features or features that
        are not finite.
    """
    for index in range(dataset.num_records):
        record = dataset[index]
        for field in fields:
            if field not in record:
                raise UserError(
                    f"{dataset.path}: data set has no field {field!r}; it does not fit the task"
                )
        where = f"{dataset.path}: video {record['video_id']}: field features"
        if not len(record["features"]):
            raise UserError(f"{where} is empty; extract this video and build the data set again")
        if not np.isfinite(record["features"]).all():
            raise UserError(f"{where} is not finite; extract this video again")
        yield record


def videos(dataset: Dataset) -> Callable[[str], Path | None]:
    """Makes a function from a video's id to its file, or to None if the data set has no file."""
    files = {record["video_id"]: record["video"] for record in records(dataset)}
    return lambda video_id: dataset.path / files[video_id] if files[video_id] else None


def apply(
    model: Model,
    method: Callable[..., Any],
    inputs: Iterable[Example],
    batch_size: int,
    what: str,
    **options: Any,
) -> Iterator[Any]:
    """Runs a method of the model on examples.

    Args:
      method: called as `method(model.module, **batch, **options)`, with arrays [B, …]; returns
        arrays [B, …].
      inputs: examples of equal shapes, arrays without the batch axis.
      batch_size: B; the last batch is filled up.
      what: name of the examples, for the progress bar.
      options: arrays that all batches share.

    Yields:
      The outputs for each example, without the batch axis, in order.
    """

    forward = _forward(method, model.module)
    with tqdm(desc=what, unit="", disable=not _PROGRESS_BARS.get()) as bar:
        for batch, count in examples.stack(inputs, batch_size):
            outputs = jax.device_get(forward(model.params, batch, options))
            bar.update(count)
            for row in range(count):
                yield jax.tree.map(lambda x, row=row: x[row], outputs)


@functools.lru_cache(maxsize=64)
def _forward(method: Callable[..., Any], module: AnyModel) -> Callable[..., Any]:
    """Jits `(params, batch, options) -> outputs`, once for each method and model."""

    @jax.jit
    def forward(params: Any, batch: Example, options: dict[str, Any]) -> Any:
        return nn.apply(method, module)({"params": params}, **batch, **options)

    return forward


@contextlib.contextmanager
def without_progress_bars() -> Iterator[None]:
    """Hides the progress bars of `apply`."""
    token = _PROGRESS_BARS.set(False)
    try:
        yield
    finally:
        _PROGRESS_BARS.reset(token)


def embed_texts(
    model: Model,
    method: Callable[..., Any],
    texts: Iterable[Sequence[int] | np.ndarray],
    batch_size: int,
) -> np.ndarray:
    """Embeds texts; equal texts go through the model once.

    Args:
      method: as in `apply`, of `text` [B, T] and `text_mask` [B, T]; returns [B, H].
      texts: token ids of each text.

    Returns:
      float [texts, H].
    """
    keys = [tuple(map(int, tokens)) for tokens in texts]
    unique = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    model_config = model.module.config
    inputs = (examples.text(model_config, np.array(key, np.int32)) for key in unique)
    embeddings = np.stack(list(apply(model, method, inputs, batch_size, "texts")))
    return embeddings[[unique[key] for key in keys]]


def over_windows(
    model: Model,
    method: Callable[..., Any],
    dataset: Dataset,
    batch_size: int,
    stride: int,
    **options: Any,
) -> Iterator[np.ndarray]:
    """Runs a method of the model on overlapping windows of every video and merges the outputs.

    Args:
      method: as in `apply`, of `video` [B, V, size] and `video_mask` [B, V]; returns [B, V, C].
      batch_size: windows per call.
      stride: features from the start of one window to the next; a window has V features.

    Yields:
      [features, C] for each video in order, merged by `vtmask.evaluation.windows.merge`.

    Raises:
      UserError: the stride is less than 1 or more than V.
    """
    model_config = model.module.config
    if not 0 < stride <= model_config.max_video_len:
        raise UserError(
            f"config.eval.stride is {stride}, expected 1 to max_video_len, "
            f"{model_config.max_video_len}"
        )
    lengths = [len(record["features"]) for record in records(dataset)]
    inputs = (
        example for record in records(dataset) for example in _windows(model_config, record, stride)
    )
    outputs = apply(model, method, inputs, batch_size, "windows", **options)
    for length in lengths:
        starts = windows.starts(length, model_config.max_video_len, stride)
        values = np.stack([next(outputs) for _ in starts])
        lengths_of = np.minimum(starts + model_config.max_video_len, length) - starts
        yield windows.merge(values, starts, lengths_of)


def _windows(model_config: VLMConfig, record: Record, stride: int) -> Iterator[Example]:
    length = len(record["features"])
    for start in windows.starts(length, model_config.max_video_len, stride):
        clip = examples.Clip(start, min(start + model_config.max_video_len, length))
        yield examples.video(model_config, record["features"], clip)
