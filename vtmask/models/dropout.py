"""Dropout that depends neither on unpadding nor on the number of devices."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.random import threefry2x32_p

from vtmask.unpadding import Selection

_GOLDEN = 0x9E3779B9  # 2**32 / the golden ratio; spreads columns over 32 bits


def dropout(x: Array, rate: float, key: Array | None, selection: Selection | None = None) -> Array:
    """Sets entries to zero at a rate, scales the others by 1 / (1 - rate): [..., N] -> [..., N].

    This is the dropout of Hinton et al. (2012). A row's entries depend on the key and the row's
    number in the batch. So the same entries are dropped with and without unpadding, and on any
    number of devices.

    Args:
      x: rows in the order of the batch, or the selected ones, [groups, slots, N].
      key: None drops nothing.
      selection: the rows of the batch in `x`; None means all.
    """
    if key is None or not rate:
        return x
    if selection is None:
        row = jnp.arange(x[..., 0].size).reshape(x.shape[:-1])
    else:
        row = selection.number
    kept = _draw(key, row, x.shape[-1]) >= jnp.uint32(rate * 2**32)
    return jnp.where(kept, x / (1 - rate), jnp.zeros((), x.dtype))


@jax.named_scope("random_bits")
def _draw(key: Array, row: Array, size: int) -> Array:
    """Draws random numbers for each row: int [...] -> uint32 [..., size].

    Threefry gives two words per row. A hash (Wellons, hash-prospector: two rounds) mixes them with
    each entry's column, in a tenth of Threefry's operations.
    """
    row = row.astype(jnp.uint32)
    seeds = (jnp.full_like(row, seed) for seed in jax.random.key_data(key))
    offset, salt = threefry2x32_p.bind(*seeds, row, jnp.zeros_like(row))
    x = offset[..., None] + jnp.arange(size, dtype=jnp.uint32) * jnp.uint32(_GOLDEN)
    x = (x ^ x >> 16) * jnp.uint32(0x21F0AAAD)
    x = (x ^ x >> 15 ^ salt[..., None]) * jnp.uint32(0x735A2D97)
    return x ^ x >> 15
