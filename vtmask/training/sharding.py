"""Sharding: a mesh ("data", "model"), and the arrays that are split over it.

Batches are split over "data". Attention heads, the MLP's inner layer (tensor parallelism, Shoeybi
et al., 2019) and scored positions are split over "model". If the recipe sets `fsdp`, parameters and
the optimizer's moments are also split over "data" (ZeRO, Rajbhandari et al., 2020); the compiler
gathers each where it is used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from vtmask.errors import UserError

# End of a parameter's path → axis that is split over "model".
TENSOR_PARALLEL = {
    **{f"attention/{name}/kernel": 1 for name in ("query", "key", "value")},
    **{f"attention/{name}/bias": 0 for name in ("query", "key", "value")},
    "attention/output/kernel": 0,
    "mlp_in/kernel": 1,
    "mlp_in/bias": 0,
    "mlp_out/kernel": 0,
}
SMALLEST_SPLIT = 2**16  # numbers; fewer are not worth gathering


def make_mesh(model: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Makes a mesh of all devices, or of these, with `model` of them along "model".

    Raises:
      UserError: the devices don't divide evenly.
    """
    devices = jax.devices() if devices is None else devices
    _require_divisor(model, len(devices))
    # Ordered by process, so that each holds the consecutive rows of a batch that it reads.
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    shape, kinds = (len(devices) // model, model), (AxisType.Auto, AxisType.Auto)
    return Mesh(np.array(ordered).reshape(shape), ("data", "model"), axis_types=kinds)


def part_of_batch(model: int) -> tuple[int, int]:
    """Returns the index of the part of a batch that this process reads, and the number of parts.

    Processes whose devices share layers read the same part. See `put_batch`.

    Args:
      model: number of devices that share a layer.

    Raises:
      UserError: the devices don't divide evenly, or only some of a process's devices would share
        layers with another process's.
    """
    _require_divisor(model, jax.device_count())
    local = jax.local_device_count()
    if model % local and local % model:
        raise UserError(
            f"config.sharding.model is {model}, expected a divisor or a multiple of the {local} "
            "devices of a process"
        )
    sharing = max(model // local, 1)  # processes that read the same part
    return jax.process_index() // sharing, jax.process_count() // sharing


def _require_divisor(model: int, devices: int) -> None:
    if model < 1 or devices % model:
        raise UserError(
            f"config.sharding.model is {model}, expected a divisor of {devices} devices"
        )


def require_even_parts(config: ConfigDict, mesh: Mesh | AbstractMesh) -> None:
    """Raises a UserError if the layers or the batch don't divide evenly among the devices."""
    data, model = mesh.shape["data"], mesh.shape["model"]
    for field in ("num_heads", "mlp_size"):
        if config.model[field] % model:
            raise UserError(
                f"config.sharding.model is {model}, expected a divisor of config.model.{field} "
                f"{config.model[field]}"
            )
    if config.microbatches < 1:
        raise UserError(f"config.microbatches is {config.microbatches}, expected 1 or more")
    if config.batch_size % (data * config.microbatches):
        raise UserError(
            f"batch_size is {config.batch_size}, expected a multiple of "
            f"{data * config.microbatches}: devices along data ({data}) times microbatches "
            f"({config.microbatches})"
        )


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def split_over_data(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec("data"))


def of_state(state: Any, mesh: Mesh, fsdp: bool) -> Any:
    """Returns the sharding of each array of a training state, or of the state's shapes."""

    def of_leaf(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        axes: list[str | None] = [None] * leaf.ndim
        for end, axis in TENSOR_PARALLEL.items():
            if name.endswith(f"/{end}"):
                axes[axis] = "model"
        data = mesh.shape["data"]
        whole = [i for i in range(leaf.ndim) if not axes[i] and leaf.shape[i] % data == 0]
        if fsdp and leaf.size >= SMALLEST_SPLIT and whole:
            axes[max(whole, key=lambda i: leaf.shape[i])] = "data"
        return NamedSharding(mesh, PartitionSpec(*axes))

    return jax.tree_util.tree_map_with_path(of_leaf, state)


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Puts a global batch on the devices, from each process's own part; see `part_of_batch`."""
    sharding = split_over_data(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
    }
