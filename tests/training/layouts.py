"""A step on eight devices in several layouts, against one device; prints what was found as JSON.

A program of its own, as the number of simulated devices is set before JAX starts.
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
from jax.sharding import Mesh
from ml_collections import ConfigDict

from vtmask import masking
from vtmask.models import VLM, VLMSizes
from vtmask.tasks import Pretrain
from vtmask.training import initial_params, make_train_step, sharding
from vtmask.training.step import initial_state, step_keys

SIZES = dataclasses.replace(
    synthetic.SIZES, num_layers=3, num_heads=4, scan_layers=True, initializer_range=0.2
)
CALM = dataclasses.replace(SIZES, dropout_rate=0.0)
BATCH = synthetic.SyntheticBatches(32).batch(0)
BUDGETS = ((0.2, 0.2, 0.2), (0.9, 0.7, 0.95))
LAYOUTS: dict[str, dict[str, Any]] = {
    "data": {},
    "fsdp": {"fsdp": True},
    "tensor": {"model": 4},
    "both": {"model": 2, "fsdp": True},
    "microbatches": {"model": 2, "microbatches": 2},
    "own negatives": {"negatives": "device"},
}


def main() -> None:
    assert jax.device_count() == 8
    sharding.SMALLEST_SPLIT = 64
    found = {name: of_layout(**layout) for name, layout in LAYOUTS.items()}
    one = sharding.make_mesh(synthetic.config(), jax.devices()[:1])
    found["one device"] = of_step(one)
    found["one device, microbatches"] = of_step(one, microbatches=2)
    found["own negatives"]["by parts"] = loss_by_parts(8)
    print(json.dumps(found))


def of_layout(
    model: int = 1, fsdp: bool = False, microbatches: int = 1, negatives: Any = "global"
) -> dict[str, Any]:
    config = synthetic.config()
    config.batch_size = len(BATCH["text"])
    config.microbatches = microbatches
    config.sharding = ConfigDict({"model": model, "fsdp": fsdp})
    sizes = SIZES if negatives == "global" else CALM
    return of_step(sharding.make_mesh(config), fsdp, microbatches, negatives, sizes)


def of_step(
    mesh: Mesh,
    fsdp: bool = False,
    microbatches: int = 1,
    negatives: Any = "global",
    sizes: VLMSizes = SIZES,
) -> dict[str, Any]:
    model, optimizer = VLM(sizes), optax.adam(1e-3)
    task = Pretrain(negatives=negatives, budgets=BUDGETS)
    state = initial_state(initial_params(model, 0), optimizer, mesh, fsdp)
    step = make_train_step(model, task, optimizer, lambda _: 1e-3, 0, mesh, microbatches)
    batch = sharding.put_batch(BATCH, mesh)
    compiled = step.lower(state, batch).compile()
    bytes_of_state = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state))
    state, metrics = compiled(state, batch)
    _, later = compiled(state, batch)
    return {
        "loss": float(metrics["loss"]),
        "grad_norm": float(metrics["grad_norm"]),
        "next_loss": float(later["loss"]),
        "budget": float(metrics["budget"]),
        "bytes": bytes_of_state,
        "collectives": collectives(compiled.as_text()),
    }


def collectives(program: str) -> dict[str, list[int]]:
    """Numbers in each array that devices exchange, by the kind of exchange."""
    found: dict[str, list[int]] = {}
    for line in program.splitlines():
        match = re.search(r"= (.*?) (all-gather|all-to-all|collective-permute)(-start)?\(", line)
        if match:
            shapes = re.findall(r"\[([\d,]*)\]", match[1])
            found.setdefault(match[2], []).extend(
                int(np.prod([int(n) for n in shape.split(",") if n])) for shape in shapes
            )
    return found


def loss_by_parts(parts: int) -> float:
    """The loss of the batch's parts, each with its own negatives, as one mean."""
    key, _ = step_keys(0, 0)
    model, task = VLM(CALM), Pretrain()
    batch = {name: jnp.asarray(x) for name, x in BATCH.items()}
    masked = masking.mask(key, batch, task.scheme, CALM)
    params = initial_params(model, 0)
    total = number = 0.0
    for part in range(parts):
        rows = slice(part * 32 // parts, (part + 1) * 32 // parts)
        of_part = jax.tree.map(lambda x, rows=rows: x[rows], (batch, masked))
        loss, _ = jax.jit(
            lambda params, batch, masked: model.apply(
                {"params": params}, batch, masked, True, method=task.masked_loss
            )
        )(params, *of_part)
        count = float(of_part[1].text_masked.sum() + of_part[1].video_masked.sum())
        total, number = total + float(loss) * count, number + count
    return total / number


if __name__ == "__main__":
    main()
