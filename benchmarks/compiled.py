"""Compiles a recipe's training step for absent TPUs, and estimates where its time goes.

    pip install 'jax[tpu]'
    python benchmarks/compiled.py --out=runs/compiled --topology=v5e:2x2 --clips=64
    python benchmarks/compiled.py --out=runs/compiled --layers=3 \
        --set='task.budgets=((.7, .25, .65),)'

Nothing runs: all times but the compile time are the compiler's estimates. Only a batch's shapes are
known, so `--budget` chooses the budget that holds it. The compiler does not estimate collectives;
the links' rate gives their time, and how much of it overlaps with computation is not known. The
share of the peak counts FLOPs without padding, of clips with the lengths that pre-training draws,
as in `benchmarks/training.py`. Writes a table, a plot and the program to the folder.
"""

import argparse
import ast
import dataclasses
import importlib
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no metadata server to ask

import hlo
import jax
import matplotlib.pyplot as plt
import training
from jax.experimental import topologies
from lowering import lower_step, model_config
from memory import gib
from ml_collections import ConfigDict

from vtmask.models import VLM, initial_params

Cycles = Counter[tuple[str, str]]  # by part and operation


class Chip(NamedTuple):
    """A chip's bfloat16 FLOPs and cycles a second, and the bytes a second that others send it."""

    flops: float
    clock: float
    links: float


# Google's figures. v5e's links are those of a slice without wrap-around: two axes, one way.
CHIPS = {"v5e": Chip(197e12, 1.5e9, 9e10), "v5p": Chip(459e12, 1.75e9, 2.7e11)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="vlm")
    parser.add_argument("--topology", default="v5e:2x2")
    parser.add_argument("--clips", type=int, default=64, help="per device")
    parser.add_argument("--layers", type=int, help="number compiled; one stands for the rest")
    parser.add_argument("--budget", type=int, default=0, help="index of the one that holds a batch")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    devices = topologies.get_topology_desc(platform="tpu", topology_name=options.topology).devices
    config = importlib.import_module(f"configs.{options.recipe}").get_config()
    config.model.dtype = "bfloat16"
    config.batch_size = options.clips * len(devices)
    for change in options.set:
        field, value = change.split("=", 1)
        config.update_from_flattened_dict({field: ast.literal_eval(value)})
    layers = config.model.num_layers
    config.model.num_layers = options.layers or layers

    start = time.process_time()
    compiled = lower_step(config, devices).compile()
    seconds = time.process_time() - start
    text = compiled.as_text() or ""
    program = hlo.Program(text)
    cycles = extrapolated(program.cycles(options.budget), config, layers)
    exchanges = program.collectives(options.budget)
    config.model.num_layers = layers
    chip = CHIPS[options.topology.split(":")[0]]
    parts = {name: 1e3 * n / chip.clock for name, n in by_part(cycles).most_common()}
    title = f"{options.recipe}, {options.topology}, {options.clips} clips per device"
    table = [
        f"{title}: {seconds:,.0f} processor seconds to compile {program.branches()} programs of "
        f"{options.layers or layers} layers, {gib(compiled):,.2f} GiB per device",
        "",
        *rows(parts, work(config) / len(devices), chip),
        "",
        *rows_of_exchanges(exchanges, len(devices), chip),
    ]
    print("\n".join(table))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "compiled.md").write_text("\n".join(table) + "\n")
    (options.out / "program.txt").write_text(text)
    plot(options.out / "compiled.png", title, parts)


def extrapolated(cycles: Cycles, config: ConfigDict, layers: int) -> Cycles:
    """Extrapolates the cycles of a step from the config's number of layers to `layers`.

    The layer before the last stands for the missing ones, and the optimizer grows with the
    parameters.
    """
    few = config.model.num_layers
    repeated, times = f"/layer_{few - 2}/", layers - few + 1
    growth = num_params(config, layers) / num_params(config, few)

    def of_all(part: str, name: str, n: int) -> int:
        if part == "optimizer":
            return round(n * growth)
        return n * times if repeated in name else n

    return Counter({(part, name): of_all(part, name, n) for (part, name), n in cycles.items()})


def num_params(config: ConfigDict, layers: int) -> int:
    model = VLM(dataclasses.replace(model_config(config), num_layers=layers))
    shapes = jax.eval_shape(lambda: initial_params(model, 0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def by_part(cycles: Cycles) -> Counter[str]:
    total: Counter[str] = Counter()
    for (part, _), n in cycles.items():
        total[part] += n
    return total


def work(config: ConfigDict) -> float:
    """FLOPs of a step, padding not counted."""
    model = model_config(config)
    return training.flops(model, training.make_batch(model, config.batch_size, 0))


def rows(parts: dict[str, float], flops: float, chip: Chip) -> list[str]:
    whole = sum(parts.values())
    return [
        "| part | estimated ms | of the step |",
        "|---|---:|---:|",
        *(f"| {part} | {ms:,.2f} | {ms / whole:.0%} |" for part, ms in parts.items()),
        f"| **step** | **{whole:,.2f}** | |",
        "",
        f"{flops / 1e12:,.2f} TFLOP without padding: {flops / chip.flops / whole * 1e3:.0%} "
        f"of the chip's {chip.flops / 1e12:,.0f} TFLOP/s, collectives left out.",
    ]


def rows_of_exchanges(exchanges: Sequence[hlo.Collective], devices: int, chip: Chip) -> list[str]:
    """A row for each kind of exchange: bytes that a device receives, and the time on the links."""
    received: Counter[str] = Counter()
    for exchange in exchanges:
        received[exchange.kind] += exchange.received(devices)
    return [
        "| exchange | MiB per device | ms on the links |",
        "|---|---:|---:|",
        *(
            f"| {kind} | {n / 2**20:,.2f} | {n / chip.links * 1e3:,.2f} |"
            for kind, n in received.most_common()
        ),
    ]


def plot(path: Path, title: str, parts: dict[str, float]) -> None:
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    axes.bar_label(axes.barh(list(parts), list(parts.values())), fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlabel="ms, as the compiler estimates", xlim=(0, 1.15 * max(parts.values())))
    axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
