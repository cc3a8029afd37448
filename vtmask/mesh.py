"""The current device mesh, as the model and the losses see it.

`vtmask.training.sharding` makes the mesh and its axes, "data" and "model". Outside of a mesh every
function here behaves as on one device.
"""

import jax
from jax import Array
from jax.sharding import PartitionSpec


def num_groups() -> int:
    """Number of parts that the mesh splits a batch into."""
    return num_parts("data")


def num_parts(axis: str) -> int:
    """Size of a mesh axis."""
    return jax.sharding.get_abstract_mesh().shape.get(axis, 1)


def split(x: Array, *axes: str | None) -> Array:
    """Splits the first axis of an array over "data" and the following ones over `axes`.

    From such arrays, compilers derive good shardings of others. Without them, they may gather
    activations if parameters are split.
    """
    if not jax.sharding.get_abstract_mesh().shape:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec("data", *axes))
