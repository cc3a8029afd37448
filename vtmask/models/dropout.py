"""Dropout that depends neither on unpadding nor on the number of devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.random import threefry2x32_p

from vtmask.unpadding import Selection

_LEVELS = 2**16


class Dropout(nn.Module):
    """Sets entries to zero at a rate and scales the others by 1 / (1 - rate) (Hinton et al., 2012).

    A row's entries depend on the rng "dropout" and the row's number in the batch. So the same
    entries are dropped with and without unpadding, and on any number of devices.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, deterministic: bool, selection: Selection | None = None) -> Array:
        """Drops entries of rows: [..., N] -> [..., N].

        Args:
          x: rows in the order of the batch, or the selected ones, [groups, slots, N].
          deterministic: True returns `x` unchanged.
          selection: the rows of the batch that `x` has; None is all.
        """
        if deterministic or not self.rate:
            return x
        if selection is None:
            row = jnp.arange(x[..., 0].size).reshape(x.shape[:-1])
        else:
            row = selection.number
        kept = _draw(self.make_rng("dropout"), row, x.shape[-1]) >= round(self.rate * _LEVELS)
        return jnp.where(kept, x / (1 - self.rate), jnp.zeros((), x.dtype))


def _draw(key: Array, row: Array, size: int) -> Array:
    """Draws random numbers below _LEVELS for each row: int [...] -> uint32 [..., size].

    One call of the generator gives four numbers. `jax.random.bits` would need one call for each.
    """
    seeds = jax.random.key_data(key)
    counters = jnp.broadcast_arrays(
        row[..., None].astype(jnp.uint32), jnp.arange(-(-size // 4), dtype=jnp.uint32)
    )
    words = threefry2x32_p.bind(*(jnp.full_like(counters[0], s) for s in seeds), *counters)
    halves = [half for word in words for half in (word % _LEVELS, word // _LEVELS)]
    return jnp.concatenate(halves, axis=-1)[..., :size]
