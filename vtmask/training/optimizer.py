"""Adam with warm-up and polynomial decay, as in the published recipes."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from vtmask.errors import check_choice


def make_schedule(optim: ConfigDict, num_steps: int) -> optax.Schedule:
    """Returns the learning rate of update n (from 0): linear warm-up, polynomial decay to 0.

    As published, update n of the warm-up has `lr * (n + 1) / warmup_steps`, so the first update is
    not wasted.

    Args:
      optim: `lr`, `warmup_steps` and the decay's `power`.
      num_steps: total number of updates.
    """
    warmup = max(optim.warmup_steps, 1)
    return optax.join_schedules(
        [
            optax.linear_schedule(optim.lr / warmup, optim.lr, warmup - 1),
            optax.polynomial_schedule(optim.lr, 0.0, optim.power, max(num_steps - warmup, 1)),
        ],
        [warmup - 1],
    )


def make_optimizer(optim: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Chains clipping by global norm, Adam and, if `weight_decay` is set, decoupled weight decay.

    Biases and normalisations have no weight decay. If `factors` is set, the parts of the model that
    it names have other learning rates.

    Raises:
      UserError: on initialisation, if `factors` names a part that the model lacks.
    """
    factors = optim.get("factors", ())
    return optax.chain(
        optax.clip_by_global_norm(optim.clip_norm),
        optax.scale_by_adam(optim.b1, optim.b2, optim.eps, mu_dtype=optim.get("mu_dtype")),
        optax.add_decayed_weights(
            optim.weight_decay, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
        ),
        optax.scale_by_learning_rate(schedule),
        *([_scale_parts(factors)] if factors else []),
    )


def _scale_parts(factors: Sequence[tuple[str, float]]) -> optax.GradientTransformation:
    """Multiplies the updates of the parameters in each named part of the model by its factor."""

    def init(params: Any) -> optax.EmptyState:
        known = {part for path, _ in jax.tree.leaves_with_path(params) for part in _parts(path)}
        for name, _ in factors:
            check_choice("config.optim.factors: a part of the model", name, sorted(known))
        return optax.EmptyState()

    def update(
        updates: Any, state: optax.EmptyState, params: Any = None
    ) -> tuple[Any, optax.EmptyState]:
        def scaled(path: Any, update: jax.Array) -> jax.Array:
            parts = _parts(path)
            return update * math.prod(factor for name, factor in factors if name in parts)

        return jax.tree.map_with_path(scaled, updates), state

    return optax.GradientTransformation(init, update)


def _parts(path: Any) -> set[str]:
    """Names a parameter and the modules that it is in."""
    return {entry.key for entry in path}
