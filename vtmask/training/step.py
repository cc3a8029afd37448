"""The training step, one pure function."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jax.stages import Wrapped

from vtmask import unpadding
from vtmask.models import AnyModel
from vtmask.tasks.pretrain import WHOLE, Budget, Pretrain
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


def initial_state(
    params: Params, optimizer: optax.GradientTransformation, mesh: Mesh, fsdp: bool
) -> TrainState:
    """The state of step 0, where it is to be, of parameters that each process has whole."""

    def put(leaf: Any, place: jax.sharding.Sharding) -> Array:
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, place, lambda part: whole[part])

    params = jax.tree.map(put, params, sharding.of_state(params, mesh, fsdp))

    def state(params: Params) -> TrainState:
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    places = sharding.of_state(jax.eval_shape(state, params), mesh, fsdp)
    return jax.jit(state, out_shardings=places)(params)


def step_keys(seed: int, step: Array | int) -> tuple[Array, Array]:
    """The keys of a step: of its masks, and of its dropout."""
    key, dropout_key = jax.random.split(
        jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), step)
    )
    return key, dropout_key


def make_train_step(
    model: AnyModel,
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    seed: int,
    mesh: Mesh,
    fsdp: bool = False,
    microbatches: int = 1,
) -> Wrapped:
    """Jits `(state, batch) -> (state, metrics)`; the old state's buffers are given up.

    The state stays where `initial_state` put it. Masks and dropout are drawn from `seed` folded
    with the step. Metrics are scalars: the loss and its parts, gradient and parameter norms, the
    learning rate, the batch's number of frames and text tokens that are no padding, and in
    pre-training with budgets, which one the batch was packed into.

    Args:
      microbatches: parts of a batch whose gradients are found one after the other and averaged, to
        save memory. Each is a batch of its own for the loss: its negatives are its own.
    """

    def train_step(state: TrainState, batch: dict[str, Array]) -> tuple[TrainState, Metrics]:
        key, dropout_key = step_keys(seed, state.step)

        def gradients(batch: dict[str, Array], part: Array | int) -> tuple[Params, Metrics]:
            keys = [key, dropout_key]
            if microbatches > 1:
                keys = [jax.random.fold_in(key, part) for key in keys]
            return _gradients(model, task, state.params, batch, *keys)

        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            if microbatches == 1:
                grads, metrics = gradients(batch, 0)
            else:
                grads, metrics = _mean_over_parts(gradients, _split(batch, microbatches))
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        metrics |= {
            "grad_norm": optax.tree.norm(grads),
            "param_norm": optax.tree.norm(state.params),
            "learning_rate": jnp.asarray(schedule(state.step)),
            "tokens": jnp.array([batch[k].sum() for k in batch if k.endswith("_mask")]).sum(),
        }
        params = optax.apply_updates(state.params, updates)
        new = TrainState(state.step + 1, params, opt_state)
        return jax.lax.with_sharding_constraint(new, sharding.of_state(new, mesh, fsdp)), metrics

    outputs = None, sharding.replicated(mesh)  # metrics, that every process can read them
    return jax.jit(train_step, donate_argnums=0, out_shardings=outputs)


def _gradients(
    model: AnyModel,
    task: Task,
    params: Params,
    batch: dict[str, Array],
    key: Array,
    dropout_key: Array,
) -> tuple[Params, Metrics]:
    """Gradients of a batch's loss; the loss and its parts."""

    def within(*budget: Any) -> tuple[Params, Metrics]:
        def loss_of(params: Params) -> tuple[Array, Metrics]:
            bound_loss = nn.apply(task.loss, model)
            rngs = {"dropout": dropout_key}
            return bound_loss({"params": params}, batch, key, *budget, rngs=rngs)

        (loss, parts), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        return grads, {"loss": loss, **parts}

    if not isinstance(task, Pretrain) or not task.budgets:
        return within()
    # Gradients are found inside of the switch, or each budget's intermediate results would be kept.
    budgets = [*(Budget(*shares) for shares in task.budgets), WHOLE]
    fitting = task.fitting(batch, key, model.config)
    grads, metrics = jax.lax.switch(fitting, [functools.partial(within, b) for b in budgets])
    return grads, metrics | {"budget": fitting}


def _split(batch: dict[str, Array], parts: int) -> dict[str, Array]:
    """[B, ...] -> [parts, B / parts, ...], each device's rows dealt out to all parts."""

    def split(x: Array) -> Array:
        x = x.reshape(unpadding.groups(), parts, -1, *x.shape[1:]).swapaxes(0, 1)
        x = x.reshape(parts, -1, *x.shape[3:])
        return jax.lax.with_sharding_constraint(x, PartitionSpec(None, "data"))

    return jax.tree.map(split, batch)


def _mean_over_parts(
    gradients: Callable[[dict[str, Array], Array | int], tuple[Params, Metrics]],
    parts: dict[str, Array],
) -> tuple[Params, Metrics]:
    number = len(jax.tree.leaves(parts)[0])

    def add(sums: Any, part: tuple[dict[str, Array], Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, sums, gradients(*part)), None

    first = jax.eval_shape(lambda: gradients(jax.tree.map(lambda x: x[0], parts), 0))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)
    sums, _ = jax.lax.scan(add, zeros, (parts, jnp.arange(number)))
    return jax.tree.map(lambda x: x / number, sums)
