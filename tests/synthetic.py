"""Makes batches and a small recipe for tests of training."""

import dataclasses
import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from ml_collections import ConfigDict

from configs import demo
from vtmask.models import VLM, VLMConfig, initial_params
from vtmask.training import Params

CONFIG = VLMConfig(
    hidden_size=32,
    num_layers=2,
    num_heads=2,
    mlp_size=64,
    vocab_size=50,
    feature_size=16,
    max_video_len=6,
    max_len=16,
)

CALM = dataclasses.replace(CONFIG, dropout_rate=0.0, initializer_range=0.2)


def config() -> ConfigDict:
    small = demo.get_config()
    small.batch_size = 16
    small.num_steps = 6
    small.log_every = 1
    small.optim.warmup_steps = 2
    small.checkpoint = ConfigDict({"every": 2, "keep": 2})
    return small


def recipe(name: str, **overrides: Any) -> ConfigDict:
    """Returns the recipe of configs/`name`.py; `data__dir` overrides config.data.dir."""
    config = importlib.import_module(f"configs.{name}").get_config()
    config.update_from_flattened_dict(
        {field.replace("__", "."): value for field, value in overrides.items()}
    )
    return config


@dataclasses.dataclass(frozen=True)
class SyntheticBatches:
    """Batches that depend only on the step. The batch of `nan_step` has a NaN in its features."""

    batch_size: int = 16
    nan_step: int | None = None

    def from_step(self, start_step: int) -> Iterator[dict[str, np.ndarray]]:
        step = start_step
        while True:
            batch = self.batch(step)
            if step == self.nan_step:
                batch["video"][3, 0, 0] = np.nan
            yield batch
            step += 1

    def batch(self, step: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(step)
        size, frames, words = self.batch_size, CONFIG.max_video_len, CONFIG.max_text_len
        video_len, text_len = rng.integers(1, frames + 1, size), rng.integers(1, words, size)
        video_mask = np.arange(frames) < video_len[:, None]
        video = rng.standard_normal((size, frames, CONFIG.feature_size)) * video_mask[..., None]
        position = np.arange(words)
        text = np.where(position < text_len[:, None], rng.integers(5, 50, (size, words)), 0)
        text = np.where(position == text_len[:, None], CONFIG.sep_id, text)
        return {
            "video": video.astype(np.float16),
            "video_mask": video_mask,
            "text": text.astype(np.int32),
            "text_mask": position <= text_len[:, None],
        }

    @property
    def inputs(self) -> dict[str, str]:
        return {"feature_extractor": "made-up"}

    def video_ids(self, step: int) -> list[str]:
        return [f"video_{step}_{i}" for i in range(2)]


def labelled_batch(size: int = 16, classes: int = 4) -> dict[str, np.ndarray]:
    """Makes a batch for `vtmask.tasks.segmentation`; a frame's class follows from its feature."""
    batch = SyntheticBatches(size).batch(0)
    labels = batch["video"][..., :classes].argmax(axis=-1).astype(np.int32)
    return {"video": batch["video"], "video_mask": batch["video_mask"], "labels": labels}


def steps_batch(videos: int = 4, windows: int = 3, steps: int = 5) -> dict[str, np.ndarray]:
    """Makes a batch for `vtmask.tasks.localization`.

    The first video lacks its last window, and its last two steps.
    """
    rng = np.random.default_rng(1)
    clips = SyntheticBatches(videos * windows).batch(1)
    texts = SyntheticBatches(videos * steps).batch(2)
    video = clips["video"].reshape(videos, windows, *clips["video"].shape[1:])
    video_mask = clips["video_mask"].reshape(videos, windows, -1)
    steps_mask = texts["text_mask"].reshape(videos, steps, -1)
    video[0, -1], video_mask[0, -1], steps_mask[0, -2:] = 0, False, False
    exists = np.asarray(steps_mask.any(axis=2))[:, None, None]
    shown = rng.random((*video_mask.shape, steps)) < 0.3
    return {
        "video": video,
        "video_mask": video_mask,
        "steps": texts["text"].reshape(videos, steps, -1),
        "steps_mask": steps_mask,
        "shown": shown & video_mask[..., None] & exists,
    }


@functools.cache
def params(model_config: VLMConfig) -> Params:
    """Returns the parameters of seed 0, which do not depend on the type of activations."""
    return initial_params(VLM(dataclasses.replace(model_config, dtype="float32")), 0)


def apply(function: Callable[..., Any], model_config: VLMConfig, *arguments: Any) -> Any:
    """Returns the output of a task's function of a model, with the parameters of seed 0."""
    return _compiled(function, model_config)({"params": params(model_config)}, *arguments)


@functools.cache
def _compiled(function: Callable[..., Any], model_config: VLMConfig) -> Callable[..., Any]:
    return jax.jit(nn.apply(function, VLM(model_config)))


def loss_of(task: Any, model_config: VLMConfig) -> Callable[[Params, Any], Array]:
    """Returns a task's loss as a function of parameters and batch; its dropout never changes."""
    model, key = VLM(model_config), jax.random.key(1)

    def loss(params: Params, batch: Any) -> Array:
        return nn.apply(task.loss, model)({"params": params}, batch, key, rngs={"dropout": key})[0]

    return loss


def loss(task: Any, model_config: VLMConfig, batch: dict[str, np.ndarray]) -> float:
    """Returns a task's loss, with the parameters of seed 0."""
    value = _compiled_loss(task, model_config)(params(model_config), batch)
    assert value.dtype == jnp.float32
    return float(value)


def gradients(task: Any, model_config: VLMConfig, batch: dict[str, np.ndarray]) -> list[Array]:
    """Returns the gradients of a task's loss, with the parameters of seed 0."""
    return jax.tree.leaves(_compiled_gradient(task, model_config)(params(model_config), batch))


@functools.cache
def _compiled_loss(task: Any, model_config: VLMConfig) -> Callable[[Params, Any], Array]:
    return jax.jit(loss_of(task, model_config))


@functools.cache
def _compiled_gradient(task: Any, model_config: VLMConfig) -> Callable[[Params, Any], Any]:
    return jax.jit(jax.grad(loss_of(task, model_config)))


def losses_in_training(
    task: Any, model_config: VLMConfig, batch: dict[str, np.ndarray], steps: int = 40
) -> list[float]:
    """Returns the losses of training steps on a single batch."""
    optimizer, start = optax.adam(3e-3), params(model_config)

    def step(state: Any, _: None) -> Any:
        params, opt_state = state
        loss, grads = jax.value_and_grad(loss_of(task, model_config))(params, batch)
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), loss

    state = start, optimizer.init(start)
    return jax.jit(lambda state: jax.lax.scan(step, state, None, steps)[1])(state).tolist()
