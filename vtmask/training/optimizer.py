"""Adam with warm-up and polynomial decay, as in the published recipes."""

import jax
import optax
from ml_collections import ConfigDict


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

    Biases and normalisations have no weight decay.
    """
    return optax.chain(
        optax.clip_by_global_norm(optim.clip_norm),
        optax.scale_by_adam(b1=optim.b1, b2=optim.b2, eps=optim.eps),
        optax.add_decayed_weights(
            optim.weight_decay, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
        ),
        optax.scale_by_learning_rate(schedule),
    )
