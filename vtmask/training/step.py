"""The training step, one pure function."""

from collections.abc import Callable
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jax.stages import Wrapped

from vtmask import mesh as current_mesh
from vtmask.models import AnyModel
from vtmask.training import sharding

Params = dict[str, Any]
Metrics = dict[str, Array]


class Task(Protocol):
    """The part of a task that the step uses; see `vtmask.tasks.base.Task`."""

    def fits(self, model: Any, batch: dict[str, Array], key: Array) -> Array:
        """Returns, for each program of `gradients`, True if it can compute the batch."""

    def gradients(
        self,
        model: Any,
        params: Params,
        batch: dict[str, Array],
        key: Array,
        dropout_key: Array,
        program: int,
    ) -> tuple[Params, Metrics]:
        """Returns the gradients of a batch's loss by parameter, and the loss and other metrics."""


class TrainState(flax.struct.PyTreeNode):
    """Everything that a run resumes from. `step` is the number of updates so far."""

    step: Array
    params: Params
    opt_state: optax.OptState


def initial_state(
    params: Params, optimizer: optax.GradientTransformation, mesh: Mesh, fsdp: bool
) -> TrainState:
    """Makes the state of step 0 and places it on the mesh.

    Args:
      params: complete in every process.
      fsdp: see `vtmask.training.sharding`.
    """

    def put(leaf: Any, place: jax.sharding.Sharding) -> Array:
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, place, lambda part: whole[part])

    params = jax.tree.map(put, params, sharding.of_state(params, mesh, fsdp))

    def state(params: Params) -> TrainState:
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    places = sharding.of_state(jax.eval_shape(state, params), mesh, fsdp)
    return jax.jit(state, out_shardings=places)(params)


def step_keys(seed: int, step: Array | int, part: Array | int | None = None) -> tuple[Array, Array]:
    """Returns two keys for a step, or for a microbatch of it: one for masks, one for dropout."""
    key, dropout_key = jax.random.split(
        jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), step)
    )
    if part is not None:
        return jax.random.fold_in(key, part), jax.random.fold_in(dropout_key, part)
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
    """Jits `(state, batch, program) -> (state, metrics)`, which donates the state's buffers.

    `program` is the Python integer that the function of `make_chooser` returns for this batch and
    step. The new state has the shardings that `initial_state` chose. Masks and dropout are drawn
    from `seed` folded with the step. Metrics are scalars: those of the task, the norms of gradients
    and parameters, the learning rate, and the batch's number of valid frames and tokens.

    Args:
      microbatches: number of parts of a batch. To save memory, their gradients are computed one
        after the other and averaged. For the loss, each part is a separate batch with its own
        negatives.
    """

    def train_step(
        state: TrainState, batch: dict[str, Array], program: int
    ) -> tuple[TrainState, Metrics]:
        def gradients(batch: dict[str, Array], part: Array | None = None) -> tuple[Params, Metrics]:
            keys = step_keys(seed, state.step, part)
            return task.gradients(model, state.params, batch, *keys, program)

        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            if microbatches == 1:
                grads, metrics = gradients(batch)
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

    outputs = None, sharding.replicated(mesh)  # so that every process can read the metrics
    return jax.jit(train_step, donate_argnums=0, static_argnums=2, out_shardings=outputs)


def make_chooser(
    model: AnyModel, task: Task, seed: int, mesh: Mesh, microbatches: int = 1
) -> Wrapped:
    """Jits `(batch, step) -> program`, the index of the program to compute the batch with: int [].

    All microbatches have the same program. Arguments are those of `make_train_step`.
    """

    def choose(batch: dict[str, Array], step: int) -> Array:
        def fits(batch: dict[str, Array], part: Array | None = None) -> Array:
            key, _ = step_keys(seed, step, part)
            return task.fits(model, batch, key)

        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            if microbatches == 1:
                return jnp.argmax(fits(batch))
            parts = _split(batch, microbatches), jnp.arange(microbatches)
            return jnp.argmax(jax.lax.map(lambda part: fits(*part), parts).all(axis=0))

    return jax.jit(choose, out_shardings=sharding.replicated(mesh))


def _split(batch: dict[str, Array], parts: int) -> dict[str, Array]:
    """Splits a batch: [B, ...] -> [parts, B / parts, ...]; each part has rows of every device."""

    def split(x: Array) -> Array:
        x = x.reshape(current_mesh.num_groups(), parts, -1, *x.shape[1:]).swapaxes(0, 1)
        x = x.reshape(parts, -1, *x.shape[3:])
        return jax.lax.with_sharding_constraint(x, PartitionSpec(None, "data"))

    return jax.tree.map(split, batch)


def _mean_over_parts(
    gradients: Callable[[dict[str, Array], Array], tuple[Params, Metrics]],
    parts: dict[str, Array],
) -> tuple[Params, Metrics]:
    number = len(jax.tree.leaves(parts)[0])

    def add(sums: Any, part: tuple[dict[str, Array], Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, sums, gradients(*part)), None

    numbers = jnp.arange(number)
    first = jax.eval_shape(lambda: gradients(*jax.tree.map(lambda x: x[0], (parts, numbers))))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)
    sums, _ = jax.lax.scan(add, zeros, (parts, numbers))
    return jax.tree.map(lambda x: x / number, sums)
