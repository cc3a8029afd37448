"""Unpadding: computes only chosen positions of a batch, such as those that are not padding.

A batch of B rows of L positions falls into `mesh.num_groups()` groups of B / groups consecutive
rows, one for each part of the mesh's "data" axis. Each group gathers its own positions, so nothing
moves between devices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from vtmask import mesh


class Selection(NamedTuple):
    """Chosen positions of [B, L], and the slots of [groups, slots] that hold them.

    Attributes:
      place: the position in its group that a slot holds, int [groups, slots]; past the last one if
        the slot holds none.
      filled: True if a slot holds a position, [groups, slots].
      slot: the slot of its group that holds a position, int [B, L].
      chosen: True if a position has a slot, [B, L].
    """

    place: Array
    filled: Array
    slot: Array
    chosen: Array

    @property
    def number(self) -> Array:
        """The index, among all B * L positions, of the one that a slot holds: [groups, slots]."""
        groups = len(self.place)
        return self.place + self.chosen.size // groups * jnp.arange(groups)[:, None]

    def gather(self, x: Array) -> Array:
        """[B, L, ...] to [groups, slots, ...], zero in slots that are not filled."""
        return _gather(x, self)

    def scatter(self, x: Array) -> Array:
        """[groups, slots, ...] to [B, L, ...], zero at positions that are not chosen."""
        return _scatter(x, self)


def select(chosen: Array, num_slots: int) -> Selection:
    """Assigns the chosen positions ([B, L]) of each group to its first slots, in order.

    Args:
      num_slots: slots of a group, at least the largest number of positions chosen in a group; see
        `most_chosen`.
    """
    # Slot i holds the position at which the count of chosen ones reaches i + 1. A binary search
    # finds it in log2(positions) gathers. TPU compilers take long to compile a sort, and a scatter
    # would make devices exchange positions.
    count = jnp.cumsum(_grouped(chosen), axis=1)
    place = jax.vmap(jnp.searchsorted, (0, None))(count, 1 + jnp.arange(num_slots))
    filled = jnp.arange(num_slots) < count[:, -1:]
    slot = (count - 1).reshape(chosen.shape)
    return Selection(*map(mesh.split, (place, filled, slot, chosen)))


def most_chosen(chosen: Array) -> Array:
    """The largest number of positions chosen in a group: [B, L] -> []."""
    return _grouped(chosen).sum(axis=1).max()


def num_slots(share: float, size: int) -> int:
    """Slots of a group for this share of a batch's `size` positions.

    Rounded up to full tiles of 8 if the group can hold them, as matmuls run in tiles. A group of
    4096 positions or more takes tiles of 128, which add little to it.
    """
    groups = mesh.num_groups()
    tile = 8 if size // groups < 4096 else 128
    return min(-(-int(share * size) // (groups * tile)) * tile, size // groups)


def _grouped(x: Array) -> Array:
    """[B, L, ...] -> [groups, B / groups * L, ...]."""
    return x.reshape(mesh.num_groups(), -1, *x.shape[2:])


# JAX would transpose a gather to a scatter, which is slow. Here, the transpose of `_gather` is
# `_scatter`, which also gathers.
@jax.custom_vjp
def _gather(x: Array, selection: Selection) -> Array:
    return _take(_grouped(x), selection.place, selection.filled)


@jax.custom_vjp
def _scatter(x: Array, selection: Selection) -> Array:
    positions = _take(x, _grouped(selection.slot), _grouped(selection.chosen))
    return positions.reshape(*selection.chosen.shape, *x.shape[2:])


_gather.defvjp(
    lambda x, selection: (_gather(x, selection), selection),
    lambda selection, gradient: (_scatter(gradient, selection), None),
)
_scatter.defvjp(
    lambda x, selection: (_scatter(x, selection), selection),
    lambda selection, gradient: (_gather(gradient, selection), None),
)


def _take(x: Array, index: Array, filled: Array) -> Array:
    """x[g, index[g, i]] if filled[g, i], else 0: [G, N, ...], [G, M], [G, M] -> [G, M, ...]."""
    fill = (1,) * (x.ndim - 2)
    taken = jnp.take_along_axis(x, index.reshape(*index.shape, *fill), axis=1, mode="clip")
    return jnp.where(filled.reshape(*filled.shape, *fill), taken, jnp.zeros((), x.dtype))
