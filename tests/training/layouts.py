"""Runs a step on eight devices in several layouts and on one device; prints results as JSON.

It is a separate program because the number of simulated devices is set before JAX starts.
"""

import dataclasses
import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import synthetic

from vtmask import losses, masking
from vtmask.models import VLM, VLMConfig, initial_params
from vtmask.tasks import Pretrain
from vtmask.training import make_train_step, sharding
from vtmask.training.step import initial_state, step_keys

CONFIG = dataclasses.replace(
    synthetic.CONFIG, num_heads=4, scan_layers=True, remat="products", initializer_range=0.2
)
CALM = dataclasses.replace(CONFIG, dropout_rate=0.0)
BATCH = synthetic.SyntheticBatches(32).batch(0)


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 8)
    sharding.SMALLEST_SPLIT = 64
    results = {
        "one device": of_layout(1, batch=dealt_out(BATCH, 4, 2), microbatches=2),
        "all": of_layout(8, model=2, fsdp=True, microbatches=2),
        "tensor": of_layout(8, model=4),
        "tensor, in blocks": in_blocks(8, model=4),
        "own negatives": of_layout(8, fsdp=True, negatives="device", model_config=CALM),
        "by parts": loss_by_parts(8),
        "contrastive": contrastive(8),
    }
    print(json.dumps(results))


def of_layout(
    devices: int,
    batch: dict[str, np.ndarray] = BATCH,
    model: int = 1,
    fsdp: bool = False,
    microbatches: int = 1,
    negatives: Any = "global",
    model_config: VLMConfig = CONFIG,
) -> dict[str, Any]:
    """Returns the losses of two steps, the bytes of state per device, and a step's exchanges."""
    mesh = sharding.make_mesh(model, jax.devices()[:devices])
    task, optimizer = Pretrain(negatives=negatives), optax.adam(1e-3)
    state = initial_state(initial_params(VLM(model_config), 0), optimizer, mesh, fsdp)
    step = make_train_step(
        VLM(model_config), task, optimizer, lambda _: 1e-3, 0, mesh, fsdp, microbatches
    )
    on_devices = sharding.put_batch(batch, mesh)
    compiled = step.lower(state, on_devices, 0).compile()
    taken = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state))
    metrics = []
    for _ in range(2):
        state, of_step = compiled(state, on_devices)
        metrics.append({name: float(of_step[name]) for name in ("loss", "grad_norm")})
    return {"metrics": metrics, "bytes": taken, "exchanged": exchanged(compiled.as_text() or "")}


def in_blocks(devices: int, **layout: Any) -> dict[str, Any]:
    """Does what `of_layout` does, with the loss in several blocks."""
    at_once, losses.BLOCK_SCORES = losses.BLOCK_SCORES, 2**12
    try:
        return of_layout(devices, **layout)
    finally:
        losses.BLOCK_SCORES = at_once


def contrastive(devices: int) -> list[float]:
    """Returns the loss with negatives of each device, and the mean loss of separate parts."""
    mesh = sharding.make_mesh(devices=jax.devices()[:devices])
    pairs = np.random.default_rng(0).standard_normal((2, 32, 8)).astype(np.float32)

    @jax.jit
    def loss(batch: dict[str, jax.Array]) -> jax.Array:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return losses.contrastive(batch["video"], batch["text"], "device")

    split = loss(sharding.put_batch({"video": pairs[0], "text": pairs[1]}, mesh))
    parts = np.split(pairs, devices, axis=1)
    return [float(split), float(np.mean([losses.contrastive(*part) for part in parts]))]


def dealt_out(batch: dict[str, np.ndarray], groups: int, parts: int) -> dict[str, np.ndarray]:
    """Reorders rows so that one device's microbatches equal those of `groups` devices."""
    rows = np.arange(len(batch["text"])).reshape(groups, parts, -1).swapaxes(0, 1).ravel()
    return {name: x[rows] for name, x in batch.items()}


def exchanged(program: str) -> dict[str, list[int]]:
    """Returns, by kind of exchange, the number of elements in each array that devices exchange."""
    kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    sizes: dict[str, list[int]] = {kind: [] for kind in kinds.split("|")}
    for line in program.splitlines():
        match = re.search(rf"= (.*?) ({kinds})(-start)?\(", line)
        if match:
            shapes = re.findall(r"\[([\d,]*)\]", match[1])
            sizes[match[2]] += [
                int(np.prod([int(n) for n in shape.split(",") if n])) for shape in shapes
            ]
    return sizes


def loss_by_parts(parts: int) -> float:
    """Returns the mean loss of the batch's parts, each with its own negatives."""
    key, _ = step_keys(0, 0)
    model, task = VLM(CALM), Pretrain()
    batch = {name: jnp.asarray(x) for name, x in BATCH.items()}
    masked = masking.mask(key, batch, task.scheme, CALM)
    params = initial_params(model, 0)

    @jax.jit
    def masked_loss(batch: dict[str, jax.Array], masked: masking.Masked) -> jax.Array:
        return model.apply({"params": params}, batch, masked, True, method=task.masked_loss)[0]

    total = number = 0.0
    for part in range(parts):
        rows = slice(part * 32 // parts, (part + 1) * 32 // parts)
        of_part = jax.tree.map(lambda x, rows=rows: x[rows], (batch, masked))
        loss = masked_loss(*of_part)
        count = float(of_part[1].text_masked.sum() + of_part[1].video_masked.sum())
        total, number = total + float(loss) * count, number + count
    return total / number


if __name__ == "__main__":
    main()
