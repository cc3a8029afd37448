"""Dropout that a batch's form has no effect on."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.random import threefry2x32_p

from vtmask.unpadding import Packing

_LEVELS = 2**16


class Dropout(nn.Module):
    """Sets entries to zero at a rate and scales the others by 1 / (1 - rate) (Hinton et al., 2012).

    What is drawn for a row depends on the rng "dropout" and on the row's number in the batch: rows
    lose the same entries whether they are packed or not, and on any number of devices.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, deterministic: bool, where: Packing | None = None) -> Array:
        """Of rows [..., N], packed as `where` has it."""
        if deterministic or not self.rate:
            return x
        row = jnp.arange(x[..., 0].size).reshape(x.shape[:-1]) if where is None else where.number
        kept = _draw(self.make_rng("dropout"), row, x.shape[-1]) >= round(self.rate * _LEVELS)
        return jnp.where(kept, x / (1 - self.rate), jnp.zeros((), x.dtype))


def _draw(key: Array, row: Array, size: int) -> Array:
    """Numbers below _LEVELS for each row: int [...] -> uint32 [..., size].

    A call of the generator makes four of them; `jax.random.bits` would make it once for each.
    """
    seeds = jax.random.key_data(key)
    counters = jnp.broadcast_arrays(
        row[..., None].astype(jnp.uint32), jnp.arange(-(-size // 4), dtype=jnp.uint32)
    )
    words = threefry2x32_p.bind(*(jnp.full_like(counters[0], s) for s in seeds), *counters)
    halves = [half for word in words for half in (word % _LEVELS, word // _LEVELS)]
    return jnp.concatenate(halves, axis=-1)[..., :size]
