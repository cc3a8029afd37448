"""The training step, one pure function."""

from collections.abc import Callable
from typing import Any, Protocol

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from vtmask.models import AnyModel
from vtmask.training import sharding

Params = dict[str, Any]
Metrics = dict[str, Array]


class Task(Protocol):
    """What training needs of a task: its loss, and the parts of it worth a curve."""

    def loss(
        self, model: Any, batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Array]]: ...


class TrainState(flax.struct.PyTreeNode):
    """Everything a run resumes from. `step` is the number of updates made."""

    step: Array
    params: Params
    opt_state: optax.OptState


def initial_params(model: AnyModel, seed: int) -> Params:
    """Fresh parameters of a model."""
    sizes = model.sizes
    batch = {
        "video": jnp.zeros((1, sizes.max_video_len, sizes.feature_size)),
        "video_mask": jnp.ones((1, sizes.max_video_len), bool),
        "text": jnp.zeros((1, sizes.max_text_len), jnp.int32),
        "text_mask": jnp.ones((1, sizes.max_text_len), bool),
    }
    return jax.jit(model.init)(jax.random.key(seed), batch)["params"]


def step_keys(seed: int, step: Array | int) -> tuple[Array, Array]:
    """The keys of a step: of its masks, and of its dropout."""
    key, dropout_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
    return key, dropout_key


def make_train_step(
    model: AnyModel,
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    seed: int,
    mesh: Mesh,
) -> Callable[[TrainState, dict[str, Array]], tuple[TrainState, Metrics]]:
    """Jits `(state, batch) -> (state, metrics)`; the old state's buffers are given up.

    Masks and dropout are drawn from `seed` folded with the step. Metrics are scalars: the loss and
    its parts, gradient and parameter norms, the learning rate, and the batch's number of frames
    and text tokens that are no padding.
    """

    def train_step(state: TrainState, batch: dict[str, Array]) -> tuple[TrainState, Metrics]:
        key, dropout_key = step_keys(seed, state.step)

        def loss_of(params: Params) -> tuple[Array, Metrics]:
            bound_loss = nn.apply(task.loss, model)
            return bound_loss({"params": params}, batch, key, rngs={"dropout": dropout_key})

        (loss, parts), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        metrics = {
            "loss": loss,
            **parts,
            "grad_norm": optax.tree.norm(grads),
            "param_norm": optax.tree.norm(state.params),
            "learning_rate": jnp.asarray(schedule(state.step)),
            "tokens": sum(x.sum() for name, x in batch.items() if name.endswith("_mask")),
        }
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, opt_state), metrics

    everywhere = sharding.replicated(mesh)
    return jax.jit(
        train_step,
        in_shardings=(everywhere, sharding.split_over_data(mesh)),
        out_shardings=(everywhere, everywhere),
        donate_argnums=0,
    )
