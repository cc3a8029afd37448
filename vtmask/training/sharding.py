"""Where arrays live: a mesh ("data", "model"), batches split over "data", the rest replicated.

Nothing is split over "model" yet.
"""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vtmask.errors import UserError


def make_mesh(batch_size: int) -> Mesh:
    """All devices along "data"; the batch must divide evenly among them."""
    devices = jax.device_count()
    if batch_size % devices:
        raise UserError(f"batch_size is {batch_size}, expected a multiple of {devices} devices")
    return jax.make_mesh((devices, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def split_over_data(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """A global batch on the devices from every host's own part of it."""
    sharding = split_over_data(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
    }
