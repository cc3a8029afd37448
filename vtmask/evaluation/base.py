"""What evaluations have in common: examples through a model, and what comes out of it all."""

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
    """What a model did on a split.

    Attributes:
      metrics: rows of named figures, such as {"text to video": {"R@1": 0.42}}.
      intervals: their 95 % bootstrap intervals over the split's examples, where there are any.
      baselines: rows of the same figures, of what knows nothing of the video.
      headline: row and column of the figures to show first.
      explanation: what the figures mean.
      figures, groups: plots and examples for the report.
      predictions: an example each, as they are saved for other people's scorers.
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
    """All records of a split, in order.

    Raises:
      UserError: the data set lacks one of the fields, or a video has no features or one that is not
        finite.
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
    """The file of a video by its id; None where the data set has none."""
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
    """What `method(model.module, **batch, **options)` gives for each example, in order.

    Args:
      inputs: examples of equal shapes; they go through in batches of `batch_size`.
      what: they are, for the progress bar.
      options: arrays that all batches share.
    """

    forward = _forward(method, model.module)
    with tqdm(desc=what, unit="", disable=not _PROGRESS_BARS.get()) as bar:
        for batch, count in examples.stack(inputs, batch_size):
            found = jax.device_get(forward(model.params, batch, options))
            bar.update(count)
            for row in range(count):
                yield jax.tree.map(lambda x, row=row: x[row], found)


@functools.lru_cache(maxsize=64)
def _forward(method: Callable[..., Any], module: AnyModel) -> Callable[..., Any]:
    """Jits `(params, batch, options) -> outputs`, once for each method and model."""

    @jax.jit
    def forward(params: Any, batch: Example, options: dict[str, Any]) -> Any:
        return nn.apply(method, module)({"params": params}, **batch, **options)

    return forward


@contextlib.contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keeps `apply` from showing its progress."""
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
    """Embeddings [N, H] of texts' token ids; equal texts go through the model once."""
    keys = [tuple(map(int, tokens)) for tokens in texts]
    unique = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    model_config = model.module.config
    inputs = (examples.text(model_config, np.array(key, np.int32)) for key in unique)
    found = np.stack(list(apply(model, method, inputs, batch_size, "texts")))
    return found[[unique[key] for key in keys]]


def over_windows(
    model: Model,
    method: Callable[..., Any],
    dataset: Dataset,
    batch_size: int,
    stride: int,
    **options: Any,
) -> Iterator[np.ndarray]:
    """What `method(module, video, video_mask, **options)` gives for all frames of each video.

    A window every `stride` frames goes through the model; where windows overlap their outputs are
    merged as `vtmask.evaluation.windows` does: [features, …] a video, in order.
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
        found = np.stack([next(outputs) for _ in starts])
        sizes_of = np.minimum(np.asarray(starts) + model_config.max_video_len, length) - starts
        yield windows.merge(found, starts, sizes_of)


def _windows(model_config: VLMConfig, record: Record, stride: int) -> Iterator[Example]:
    length = len(record["features"])
    for start in windows.starts(length, model_config.max_video_len, stride):
        clip = examples.Clip(start, min(start + model_config.max_video_len, length))
        yield examples.video(model_config, record["features"], clip)
