"""Memory of a training step, as the compiler plans it; nothing is run.

    python benchmarks/memory.py loss --out=runs/memory
    python benchmarks/memory.py recipes --out=runs/memory

`loss` compares the joint softmax in blocks with one that keeps all scores, by the number of samples
in a batch. `recipes` compiles the steps of recipes for 1 to 256 simulated devices that share a
batch of 256. Both write a table and a plot.

The backend's compiler plans `loss`; the CPU's plans `recipes`, and may keep bfloat16 numbers as
float32.
"""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from jax import Array
from jax.stages import Compiled
from lowering import lower_step
from tqdm import tqdm

from vtmask import losses
from vtmask.losses import Candidates, Queries
from vtmask.models import VLMConfig

RECIPES = ("vlm", "vlm_large", "vlm_1b")
DEVICES = (1, 8, 64, 256)
# Memory is planned before LLVM generates code, which takes the most time.
QUICK: dict[str, str | bool] = {
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": True,
}
# Autotuning would run kernels, for which a GPU has no memory if a plan exceeds it.
PLANNED: dict[str, str | bool] = {"xla_gpu_autotune_level": "0"}
SAMPLES = (16, 64, 256, 1024, 8192)
MASKED, FRAMES = 19, 18  # of a sample, on average, in pre-training

Rows = dict[str, dict[int, float]]  # GiB, by row and column


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("loss", "recipes"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--recipes", default=",".join(RECIPES))
    options = parser.parse_args()
    if options.what == "recipes":
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", max(DEVICES))
    if options.what == "loss":
        rows = {
            f"{name}, {options.dtype}": {
                samples: of_loss(function, samples, options.dtype) for samples in tqdm(SAMPLES)
            }
            for name, function in (
                ("in blocks", losses.cross_entropy),
                ("all scores kept", with_all_scores),
            )
        }
        write(options.out, "loss", "samples", rows)
    else:
        rows = {
            name: {devices: of_recipe(name, devices) for devices in tqdm(DEVICES, name)}
            for name in options.recipes.split(",")
        }
        write(options.out, "recipes", "devices", rows)


def of_loss(function: Callable[..., Any], samples: int, dtype: str) -> float:
    """GiB of the joint softmax and its gradients, with BERT-base's vocabulary."""
    model_config = VLMConfig()
    masked, frames, width = samples * MASKED, samples * FRAMES, model_config.hidden_size
    number = model_config.vocab_size + frames

    def loss(hidden: Array, embeddings: Array, label: Array) -> Array:
        weight, constant = jnp.full((1, masked), 1 / masked), jnp.zeros((1, masked))
        candidates = Candidates(embeddings, jnp.ones((1, number), bool), jnp.zeros(number))
        return function(Queries(hidden, label, weight, constant), candidates)[0]

    arguments = [
        jax.ShapeDtypeStruct((1, masked, width), dtype),
        jax.ShapeDtypeStruct((1, number, width), jnp.float32),
        jax.ShapeDtypeStruct((1, masked), jnp.int32),
    ]
    return gib(jax.jit(jax.grad(loss, (0, 1))).lower(*arguments).compile(PLANNED))


def with_all_scores(queries: Queries, candidates: Candidates) -> tuple[Array, Array]:
    """Computes `losses.cross_entropy` from the complete matrix of scores."""
    embeddings = candidates.embeddings.astype(queries.hidden.dtype)
    scores = jnp.einsum(
        "gmh,gch->gmc", queries.hidden, embeddings, preferred_element_type=jnp.float32
    )
    scores = jnp.where(candidates.open[:, None], scores + candidates.bias, losses.CLOSED)
    scores = jnp.concatenate([scores, queries.constant[..., None]], axis=-1)
    loss = optax.softmax_cross_entropy_with_integer_labels(scores, queries.label)
    return (loss * queries.weight).sum(), loss


def of_recipe(name: str, devices: int) -> float:
    """The most GiB per device that the step of configs/`name`.py takes, its state included.

    This is the step on a padded batch."""
    config = importlib.import_module(f"configs.{name}").get_config()
    config.task.budgets = ()
    return gib(lower_step(config, jax.devices()[:devices], program=0).compile(QUICK))


def gib(compiled: Compiled) -> float:
    """GiB per device of a program's arguments, results and temporaries."""
    plan = compiled.memory_analysis()
    assert plan  # every backend that plans memory has one
    taken = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    return (taken - plan.alias_size_in_bytes) / 2**30


def write(out: Path, name: str, columns: str, rows: Rows) -> None:
    numbers = list(next(iter(rows.values())))
    table = [
        f"| GiB, by {columns} | " + " | ".join(f"{number:,}" for number in numbers) + " |",
        "|---|" + "---:|" * len(numbers),
        *(
            f"| {row} | " + " | ".join(f"{value:,.2f}" for value in values.values()) + " |"
            for row, values in rows.items()
        ),
    ]
    print("\n".join(table))
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text("\n".join(table) + "\n")
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for row, values in rows.items():
        axes.loglog(list(values), list(values.values()), marker="o", label=row)
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.minorticks_off()
    axes.set(xlabel=columns, ylabel="GiB per device")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out / f"{name}.png", dpi=150)


if __name__ == "__main__":
    main()
