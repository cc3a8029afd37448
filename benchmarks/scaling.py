"""The cost of splitting a step over devices: weak scaling over simulated ones.

    python benchmarks/scaling.py --out=runs/scaling

Simulated devices share this machine's cores, so more of them are not faster. N devices train on N
times 16 samples, in turn with a single device on the same batch. If splitting costs nothing, both
take the same time. Writes a table and a plot.
"""

import argparse
import functools
import statistics
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import training
from tqdm import tqdm

from vtmask.models import VLMConfig

CONFIGS = VLMConfig(hidden_size=256, num_layers=4, num_heads=8, mlp_size=1024, vocab_size=8192)
BUDGETS = ((0.85, 0.45, 0.9),)  # a device's share of a batch varies more than the whole
DEVICES = (2, 4, 8)
LAYOUTS: dict[str, dict[str, Any]] = {
    "data": {"model_axis": 1, "fsdp": False},
    "data, fsdp": {"model_axis": 1, "fsdp": True},
    "model 2, data": {"model_axis": 2, "fsdp": False},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    by_layout = {
        name: {n: costs(layout, n, options.rounds) for n in tqdm(DEVICES, name)}
        for name, layout in LAYOUTS.items()
    }
    table = [
        "| layout | " + " | ".join(f"{n} devices" for n in DEVICES) + " |",
        "|---|" + "---:|" * len(DEVICES),
        *(
            f"| {name} | " + " | ".join(map(spread, ratios.values())) + " |"
            for name, ratios in by_layout.items()
        ),
    ]
    print("\n".join(table))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scaling.md").write_text("\n".join(table) + "\n")
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, ratios in by_layout.items():
        medians = [statistics.median(values) for values in ratios.values()]
        axes.plot([1, *DEVICES], [1.0, *medians], marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, *DEVICES], [str(n) for n in (1, *DEVICES)])
    axes.set(xlabel="simulated devices", ylabel="time, that of one device is 1")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(options.out / "scaling.png", dpi=150)


def costs(layout: dict[str, Any], devices: int, rounds: int) -> list[float]:
    """Times of a step relative to those of a single device, on the same batches."""
    size = 16 * devices
    alone = training.jax_step(CONFIGS, BUDGETS, jax.devices()[:1])
    split = training.jax_step(CONFIGS, BUDGETS, jax.devices()[:devices], **layout)
    batches = [training.make_batch(CONFIGS, size, seed) for seed in range(rounds + 1)]
    for step in (alone, split):
        step(batches[0])
    return [
        training.seconds(functools.partial(training.turn, split, [batch]))
        / training.seconds(functools.partial(training.turn, alone, [batch]))
        for batch in batches[1:]
    ]


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
