"""Chosen positions of a batch, packed together, so that the others cost nothing.

A batch of B rows of L positions falls into `groups()` groups of B / groups consecutive rows, one
for each part of the mesh's "data" axis, and each packs its own: nothing moves between devices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec


def groups() -> int:
    """In how many parts the current mesh splits a batch."""
    return parts("data")


def parts(axis: str) -> int:
    """In how many parts the current mesh splits what is split over its axis; 1 outside of one."""
    return jax.sharding.get_abstract_mesh().shape.get(axis, 1)


def split(x: Array, *axes: str | None) -> Array:
    """The array, its first axis split over "data" and others as `axes` says, where there is a mesh.

    Compilers choose well from there on, but may gather activations where parameters are split."""
    if not jax.sharding.get_abstract_mesh().shape:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec("data", *axes))


class Packing(NamedTuple):
    """Where chosen positions of [B, L] are among the slots of [groups, slots].

    Attributes:
      place: of each slot, the position in its group that it holds: int [groups, slots].
      filled: True where a slot holds one: [groups, slots].
      slot: of each position, the slot that holds it: int [B, L].
      chosen: True where a position has one: [B, L].
    """

    place: Array
    filled: Array
    slot: Array
    chosen: Array

    @property
    def number(self) -> Array:
        """The number among B * L of the position that a slot holds: [groups, slots]."""
        groups = len(self.place)
        return self.place + self.chosen.size // groups * jnp.arange(groups)[:, None]

    def pack(self, x: Array) -> Array:
        """[B, L, ...] to [groups, slots, ...], zero in slots that hold nothing."""
        return _pack(x, self)

    def unpack(self, x: Array) -> Array:
        """[groups, slots, ...] to [B, L, ...], zero at positions that were not chosen."""
        return _unpack(x, self)


def packing(chosen: Array, slots: int) -> Packing:
    """Packs the chosen positions ([B, L]) of each group into its slots, in their order.

    `slots` is at least the largest number chosen in a group; see `largest`.
    """
    grouped = _grouped(chosen)
    place = jnp.argsort(~grouped, axis=1, stable=True)[:, :slots]
    slot = jnp.cumsum(grouped, axis=1) - 1
    filled = jnp.arange(slots) < grouped.sum(axis=1, keepdims=True)
    return Packing(*map(split, (place, filled, slot.reshape(chosen.shape), chosen)))


def largest(chosen: Array) -> Array:
    """Of the groups' numbers of chosen positions the largest: [B, L] -> []."""
    return _grouped(chosen).sum(axis=1).max()


def slots_of(share: float, size: int) -> int:
    """Slots of a group for this share of a batch's `size` positions, in full tiles of 8 or, where
    there are many, 128: products over them are cut into parts."""
    tile = 8 if size // groups() < 4096 else 128
    return min(-(-int(share * size) // (groups() * tile)) * tile, size // groups())


def _grouped(x: Array) -> Array:
    """[B, L, ...] -> [groups, B / groups * L, ...]."""
    return x.reshape(groups(), -1, *x.shape[2:])


# The transpose of a gather is a scatter, which is slow; that of packing is unpacking.
@jax.custom_vjp
def _pack(x: Array, where: Packing) -> Array:
    return _gather(_grouped(x), where.place, where.filled)


@jax.custom_vjp
def _unpack(x: Array, where: Packing) -> Array:
    found = _gather(x, _grouped(where.slot), _grouped(where.chosen))
    return found.reshape(*where.chosen.shape, *x.shape[2:])


_pack.defvjp(lambda x, at: (_pack(x, at), at), lambda at, of_packed: (_unpack(of_packed, at), None))
_unpack.defvjp(lambda x, at: (_unpack(x, at), at), lambda at, of_rows: (_pack(of_rows, at), None))


def _gather(x: Array, index: Array, where: Array) -> Array:
    """x[g, index[g, i]] where `where`, else 0: [G, N, ...], [G, M], [G, M] -> [G, M, ...]."""
    fill = (1,) * (x.ndim - 2)
    found = jnp.take_along_axis(x, index.reshape(*index.shape, *fill), axis=1, mode="clip")
    return jnp.where(where.reshape(*where.shape, *fill), found, jnp.zeros((), x.dtype))
