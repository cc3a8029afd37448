"""Compiles a recipe's training step for absent TPUs or GPUs, and estimates where its time goes.

    pip install 'jax[tpu]'
    python benchmarks/compiled.py --out=runs/compiled --topology=v5e:2x2 --clips=64
    python benchmarks/compiled.py --out=runs/compiled --layers=3 \
        --set='task.budgets=((.7, .25, .65),)'
    pip install jax-cuda12-plugin    # in another environment
    python benchmarks/compiled.py --out=runs/compiled --topology=h100:1 --clips=256

Nothing runs. Times on a TPU are its compiler's estimates. The GPU compiler has no usable ones, so
times there are floors: what a kernel's FLOPs and bytes take at the rates of the data sheet. Each
budget of a recipe has a program; `--budget` chooses one. Collectives are not included; the links'
rate gives their time, and how much of it overlaps with computation is not known. The share of the
peak counts FLOPs without padding, of clips with the lengths that pre-training draws, as in
`benchmarks/training.py`. Writes a table, a plot and the program to the folder.
"""

import argparse
import ast
import dataclasses
import importlib
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no metadata server to ask

import hlo
import jax
import matplotlib.pyplot as plt
import training
from jax.experimental import topologies
from jax.stages import Compiled, Lowered
from lowering import lower_choice, lower_step, model_config
from memory import gib
from ml_collections import ConfigDict

from vtmask.models import VLM, initial_params

Cycles = Counter[tuple[str, str]]  # by part and operation


class Chip(NamedTuple):
    """A chip's rates per second, from its maker's data sheet.

    Attributes:
      flops: in bfloat16.
      clock: cycles; a GPU's time is counted in nanoseconds instead.
      links: bytes that others send it.
      memory: bytes that a GPU reads or writes; None for a TPU.
    """

    flops: float
    clock: float
    links: float
    memory: float | None = None


# By the chip's name, or by a topology whose links differ. v5e's links are those of a slice without
# wrap-around: two axes, one way. In a complete pod they wrap around.
CHIPS = {
    "v5e": Chip(197e12, 1.5e9, 9e10),
    "v5e:16x16": Chip(197e12, 1.5e9, 1.8e11),
    "v5p": Chip(459e12, 1.75e9, 2.7e11),
    "h100": Chip(989e12, 1e9, 4.5e11, 3.35e12),
}
H100 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 8 }
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  clock_rate_ghz: 1.98
  fpus_per_core: 128
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  l2_cache_size: 52428800
  memory_bandwidth: 3352320000000
  device_memory_size: 84942979072
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="vlm")
    parser.add_argument("--topology", default="v5e:2x2")
    parser.add_argument("--clips", type=int, default=64, help="per device")
    parser.add_argument("--layers", type=int, help="number compiled; one stands for the rest")
    parser.add_argument("--budget", type=int, default=0, help="index; one past the last pads")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    chip = CHIPS.get(options.topology) or CHIPS[options.topology.split(":")[0]]
    devices = absent(options.topology)
    config = importlib.import_module(f"configs.{options.recipe}").get_config()
    config.model.dtype = "bfloat16"
    config.batch_size = options.clips * len(devices)
    for change in options.set:
        field, value = change.split("=", 1)
        config.update_from_flattened_dict({field: ast.literal_eval(value)})
    layers = config.model.num_layers
    config.model.num_layers = options.layers or layers

    compiled, seconds = compile_timed(lower_step, config, devices, options.budget)
    text = compiled.as_text() or ""
    program = hlo.Program(text)
    cycles = extrapolated(times(program, chip), config, layers)
    exchanges = program.collectives()
    choice, seconds_of_choice = compile_timed(lower_choice, config, devices)
    of_choice = times(hlo.Program(choice.as_text() or ""), chip).total() / chip.clock
    config.model.num_layers = layers
    parts = {name: 1e3 * n / chip.clock for name, n in by_part(cycles).most_common()}
    title = f"{options.recipe}, {options.topology}, {options.clips} clips per device"
    table = [
        f"{title}: {seconds:,.0f} processor seconds to compile {options.layers or layers} layers, "
        f"{gib(compiled):,.2f} GiB per device. The choice of the program: {seconds_of_choice:,.1f} "
        f"processor seconds to compile, {1e3 * of_choice:,.2f} {column(chip)}.",
        "",
        *rows(parts, work(config, len(devices)), chip),
        "",
        *rows_of_exchanges(exchanges, options.layers or layers, len(devices), chip),
    ]
    print("\n".join(table))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "compiled.md").write_text("\n".join(table) + "\n")
    (options.out / "program.txt").write_text(text)
    plot(options.out / "compiled.png", title, parts, column(chip))


def absent(topology: str) -> list[jax.Device]:
    """The devices of a topology, such as "v5e:2x2" or "h100:8", none of which is there."""
    chip, shape = topology.split(":")
    if chip != "h100":
        return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    jax.local_devices(backend="cpu")  # finds the CUDA plugin
    return topologies.get_topology_desc(
        platform="cuda", topology_name="H100", topology=f"1x1x{shape}", target_config=H100
    ).devices


def compile_timed(
    lower: Callable[..., Lowered], config: ConfigDict, devices: Sequence[jax.Device], *program: int
) -> tuple[Compiled, float]:
    """Lowers and compiles; returns the program and the processor's seconds."""
    start = time.process_time()
    lowered = lower(config, devices, *program)
    options: dict[str, str | bool] = {}
    if devices[0].platform == "gpu":  # kernels can't be tried out, as it is absent
        options["xla_gpu_autotune_level"] = "0"
    return lowered.compile(options), time.process_time() - start


def times(program: hlo.Program, chip: Chip) -> Cycles:
    return program.floor(chip.flops, chip.memory) if chip.memory else program.cycles()


def column(chip: Chip) -> str:
    """What the times of a chip's table are."""
    return "ms at least" if chip.memory else "estimated ms"


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


def work(config: ConfigDict, devices: int) -> float:
    """FLOPs of a step on one device, padding not counted."""
    model = model_config(config)
    # Each part of the batch has its negatives to itself.
    parts = devices if config.task.negatives == "device" else 1
    batch = training.make_batch(model, config.batch_size // parts, 0)
    return training.flops(model, batch) * parts / devices


def rows(parts: dict[str, float], flops: float, chip: Chip) -> list[str]:
    whole = sum(parts.values())
    return [
        f"| part | {column(chip)} | of the step |",
        "|---|---:|---:|",
        *(f"| {part} | {ms:,.2f} | {ms / whole:.0%} |" for part, ms in parts.items()),
        f"| **step** | **{whole:,.2f}** | |",
        "",
        f"{flops / 1e12:,.2f} TFLOP without padding: {flops / chip.flops / whole * 1e3:.0%} "
        f"of the chip's {chip.flops / 1e12:,.0f} TFLOP/s, collectives left out.",
    ]


def rows_of_exchanges(
    exchanges: Sequence[hlo.Collective], layers: int, devices: int, chip: Chip
) -> list[str]:
    """A row for each kind of exchange: bytes that a device receives, and the time on the links."""
    received: Counter[str] = Counter()
    for exchange in exchanges:
        received[exchange.kind] += exchange.received(devices)
    return [
        f"| exchange, {layers} layers | MiB per device | ms on the links |",
        "|---|---:|---:|",
        *(
            f"| {kind} | {n / 2**20:,.2f} | {n / chip.links * 1e3:,.2f} |"
            for kind, n in received.most_common()
        ),
    ]


def plot(path: Path, title: str, parts: dict[str, float], label: str) -> None:
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    axes.bar_label(axes.barh(list(parts), list(parts.values())), fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlabel=label, xlim=(0, 1.15 * max(parts.values())))
    axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
