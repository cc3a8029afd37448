"""Lowers a recipe's training step from shapes alone, for devices that may be absent."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jax.stages import Lowered
from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).parents[1]))  # where configs are

from vtmask import tasks
from vtmask.models import VLM, VLMConfig, initial_params
from vtmask.training import make_train_step, sharding
from vtmask.training.optimizer import make_optimizer
from vtmask.training.step import TrainState, make_chooser


def lower_step(config: ConfigDict, devices: Sequence[jax.Device], program: int) -> Lowered:
    """Lowers a program of a recipe's pre-training step for these devices."""
    model = VLM(model_config(config))
    schedule = optax.constant_schedule(config.optim.lr)
    optimizer = make_optimizer(config.optim, schedule)
    mesh = sharding.make_mesh(config.sharding.model, devices)
    fsdp = config.sharding.fsdp

    def state() -> TrainState:
        params = initial_params(model, 0)
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    shapes = jax.eval_shape(state)
    step = make_train_step(
        model,
        tasks.create(config.task),
        optimizer,
        schedule,
        config.seed,
        mesh,
        fsdp,
        config.microbatches,
    )
    return step.lower(
        _placed(shapes, sharding.of_state(shapes, mesh, fsdp)),
        _batch(model.config, config.batch_size, mesh),
        program,
    )


def lower_choice(config: ConfigDict, devices: Sequence[jax.Device]) -> Lowered:
    """Lowers the choice of a batch's program."""
    model = VLM(model_config(config))
    mesh = sharding.make_mesh(config.sharding.model, devices)
    choose = make_chooser(model, tasks.create(config.task), config.seed, mesh, config.microbatches)
    return choose.lower(_batch(model.config, config.batch_size, mesh), 0)


def model_config(config: ConfigDict) -> VLMConfig:
    return VLMConfig(**{name: value for name, value in config.model.items() if name != "name"})


def _batch(model: VLMConfig, size: int, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch's shapes, as `vtmask.models.vlm` describes it, split over the mesh."""
    video, text = (size, model.max_video_len), (size, model.max_text_len)
    batch = {
        "video": jax.ShapeDtypeStruct((*video, model.feature_size), jnp.float16),
        "video_mask": jax.ShapeDtypeStruct(video, jnp.bool),
        "text": jax.ShapeDtypeStruct(text, jnp.int32),
        "text_mask": jax.ShapeDtypeStruct(text, jnp.bool),
    }
    return _placed(batch, dict.fromkeys(batch, sharding.split_over_data(mesh)))


def _placed(shapes: Any, places: Any) -> Any:
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        places,
    )
