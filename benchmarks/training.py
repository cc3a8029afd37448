"""Samples a second of a pre-training step, against PyTorch if that is installed.

    pip install -e '.[benchmark]'
    python benchmarks/training.py --out=runs/training
    python benchmarks/training.py --out=runs/training --compile        # torch.compile, too
    XLA_PYTHON_CLIENT_MEM_FRACTION=.4 python benchmarks/training.py --out=runs/training \
        --dtype=bfloat16 --batch_size=512 --steps=10 --fused_attention --compile        # on a GPU

BERT-base's sizes, dropout 0.1, Adam. Clips have the lengths that pre-training draws
(`clip_lengths.npy`, of `benchmarks/pipeline.py`), random features and tokens. All runs get the same
batches, draw masks in the same way, and take turns of `--steps` steps, each of which ends with
reading the loss. The floor is the FLOPs without padding at the rate of a large matmul. Writes a
table and a plot to the folder; with `--profile` also a trace of three steps, for TensorBoard or
Perfetto.
"""

import argparse
import dataclasses
import functools
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from ml_collections import ConfigDict
from tqdm import tqdm

from vtmask import masking
from vtmask.models import VLM, VLMConfig, initial_params
from vtmask.tasks.pretrain import Pretrain
from vtmask.training import make_train_step, sharding
from vtmask.training.optimizer import make_optimizer
from vtmask.training.step import initial_state, make_chooser

Batch = dict[str, np.ndarray]
Step = Callable[[Batch], Any]  # returns the loss, on the device

LENGTHS = Path(__file__).with_name("clip_lengths.npy")
# Shares of positions, masked positions and frames (see vtmask.tasks.pretrain.Budget) by batch size;
# docs/scaling.md gives what batches need.
BUDGETS = {
    1: ((0.645, 0.25, 0.66), (0.72, 0.35, 0.78), (0.8, 0.4, 0.85)),
    64: ((0.71, 0.25, 0.65), (0.8, 0.3, 0.75)),
    512: ((0.67, 0.22, 0.6),),
}
OPTIM = ConfigDict(
    {"lr": 5e-5, "clip_norm": 2.0, "b1": 0.9, "b2": 0.98, "eps": 1e-8, "weight_decay": 0.0}
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--fused_attention", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=1, help="in a turn")
    parser.add_argument("--compile", action="store_true", help="time torch.compile, too")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    model_config = VLMConfig(dtype=options.dtype)
    fused = dataclasses.replace(model_config, fused_attention=options.fused_attention)
    size, steps = options.batch_size, options.steps
    batches = [make_batch(model_config, size, seed) for seed in range(max(options.rounds, steps))]
    turns = [take(batches, start * steps, steps) for start in range(options.rounds)]

    budgets = BUDGETS[max(least for least in BUDGETS if least <= size)]
    runs: dict[str, Step] = {
        "vtmask": jax_step(fused, budgets),
        "vtmask, padded": jax_step(fused, ()),
        **torch_steps(model_config, options.compile, batches),
    }
    losses = [turn(run, batches[:1]) for run in tqdm(runs.values(), "compile")]
    assert max(losses) < 1.2 * min(losses), losses  # fresh weights differ
    for run in runs.values():
        turn(run, batches)

    times: dict[str, list[float]] = {name: [] for name in [*runs, "product"]}
    multiply, product_flops = matmul(options.dtype)
    for part in tqdm(turns, "rounds"):
        for name, run in runs.items():
            times[name].append(seconds(functools.partial(turn, run, part)) / steps)
        times["product"].append(seconds(multiply))
    if options.profile:
        with jax.profiler.trace(str(options.out / "profile")):
            turn(runs["vtmask"], batches[:3])

    peak = product_flops / statistics.median(times.pop("product"))
    work = statistics.median(flops(model_config, batch) for batch in batches)
    floor = size * peak / work
    tokens = [statistics.mean(positions(batch).sum() for batch in part) for part in turns]
    title = f"{jax.devices()[0].device_kind}, {options.dtype}, batches of {size}"
    table = [
        f"{title}. A matmul runs at {peak / 1e9:,.0f} GFLOP/s, and a batch without padding "
        f"takes {work / 1e9:,.0f} GFLOP: at most {floor:,.1f} samples a second.",
        "",
        "| | samples/s, median (min to max) | tokens/s, no padding | of the matmul rate "
        "| vtmask's speedup |",
        "|---|---:|---:|---:|---:|",
        *(row(name, times, size, tokens, size / floor) for name in times),
    ]
    print("\n".join(table))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "training.md").write_text("\n".join(table) + "\n")
    plot(options.out / "training.png", title, times, size, floor)


def row(
    name: str, times: dict[str, list[float]], size: int, tokens: list[float], floor_seconds: float
) -> str:
    taken = times[name]
    rates = sorted(size / t for t in taken)
    ratios = sorted(a / b for a, b in zip(taken, times["vtmask"], strict=True))
    per_second = statistics.median(n / t for n, t in zip(tokens, taken, strict=True))
    return (
        f"| {name} | **{statistics.median(rates):,.2f}** ({rates[0]:,.2f} to {rates[-1]:,.2f}) "
        f"| {per_second:,.0f} | {floor_seconds / statistics.median(taken):.0%} "
        f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
    )


def take(batches: Sequence[Batch], start: int, number: int) -> list[Batch]:
    """Returns `number` batches from index `start` on; the first follows the last."""
    return [batches[i % len(batches)] for i in range(start, start + number)]


def turn(step: Step, batches: Sequence[Batch]) -> float:
    """Runs a step on each batch; returns the last loss, which waits for all."""
    for batch in batches:
        loss = step(batch)
    return float(loss)


def make_batch(model_config: VLMConfig, batch_size: int, seed: int) -> Batch:
    """A batch as `vtmask.models.vlm` describes it, of clips as long as pre-training draws them."""
    rng = np.random.default_rng(seed)
    frames, words = rng.choice(np.load(LENGTHS), batch_size).T[..., None]
    video_mask = np.arange(model_config.max_video_len) < frames
    position = np.arange(model_config.max_text_len)
    video = (
        rng.standard_normal((*video_mask.shape, model_config.feature_size))
        / model_config.feature_size**0.5
    )
    text = rng.integers(1000, model_config.vocab_size, (batch_size, model_config.max_text_len))
    text = np.where(position == words - 1, model_config.sep_id, text)
    return {
        "video": (video * video_mask[..., None]).astype(np.float16),
        "video_mask": video_mask,
        "text": np.where(position < words, text, model_config.pad_id).astype(np.int32),
        "text_mask": position < words,
    }


def jax_step(
    model_config: VLMConfig,
    budgets: Sequence[tuple],
    devices: Sequence[jax.Device] | None = None,
    model_axis: int = 1,
    fsdp: bool = False,
) -> Step:
    """Makes a step on all devices, or on these, sharded as in `vtmask.training.sharding`."""
    model, task = VLM(model_config), Pretrain(budgets=budgets)
    mesh = sharding.make_mesh(model_axis, devices)
    schedule = optax.constant_schedule(OPTIM.lr)
    optimizer = make_optimizer(OPTIM, schedule)
    state = [initial_state(initial_params(model, 0), optimizer, mesh, fsdp)]
    train_step = make_train_step(model, task, optimizer, schedule, 0, mesh, fsdp)
    choose = make_chooser(model, task, 0, mesh)
    steps = itertools.count()
    programs: list[jax.stages.Compiled] = []

    def step(batch: Batch) -> jax.Array:
        placed = sharding.put_batch(batch, mesh)
        if not programs:
            lowered = (train_step.lower(state[0], placed, i) for i in range(len(budgets) + 1))
            programs.extend(program.compile() for program in lowered)
        program = programs[int(choose(placed, next(steps)))]
        state[0], metrics = program(state[0], placed)
        return metrics["loss"]

    return step


def torch_steps(
    model_config: VLMConfig, compiled: bool, batches: Sequence[Batch]
) -> dict[str, Step]:
    """The same in PyTorch, with masks drawn beforehand; empty if it is missing."""
    try:
        import torch_vlm
    except ImportError:
        print("PyTorch and transformers are not installed: JAX alone is measured")
        return {}
    draw = jax.jit(
        lambda key, batch: masking.mask(key, batch, masking.MaskingScheme(), model_config)
    )

    masks = {}
    for batch in batches:
        drawn = jax.device_get(draw(jax.random.key(0), batch))
        masks[id(batch)] = {
            "masked_text": drawn.text,
            "video_masked": drawn.video_masked,
            "text_masked": drawn.text_masked,
        }

    def masked(step: Step) -> Step:
        return lambda batch: step(batch | masks[id(batch)])

    forms = {"padded": (False, False), "padded to the longest": (True, False)}
    if compiled:
        forms |= {"compiled, padded": (False, True)}
    return {
        f"PyTorch, {name}": masked(torch_vlm.make_step(model_config, OPTIM, *form))
        for name, form in forms.items()
    }


def flops(model_config: VLMConfig, batch: Batch) -> float:
    """FLOPs of a step, forward and backward, padding not counted."""
    width, layers = model_config.hidden_size, model_config.num_layers
    length = positions(batch).sum(axis=1, dtype=float)
    arrays = jax.tree.map(jnp.asarray, batch)
    drawn = masking.mask(jax.random.key(0), arrays, masking.MaskingScheme(), model_config)
    masked = float(drawn.video_masked.sum() + drawn.text_masked.sum())
    frames = float(batch["video_mask"].sum())
    weights = 4 * width**2 + 2 * width * model_config.mlp_size
    encoder = layers * (weights * length + 2 * width * length**2).sum()
    head = masked * width * (width + model_config.vocab_size + frames)
    video = frames * width * (model_config.feature_size + width)
    return 6 * (encoder + head + video)


def positions(batch: Batch) -> np.ndarray:
    """True for positions that are not padding, [CLS] and [SEP] included: [B, L]."""
    special = np.ones((len(batch["text"]), 2), bool)
    return np.concatenate([special, batch["video_mask"], batch["text_mask"]], axis=1)


def matmul(dtype: str) -> tuple[Callable[[], object], float]:
    """Returns a function that multiplies random square matrices repeatedly, and its FLOPs."""
    side, times = (2048, 4) if jax.default_backend() == "cpu" else (8192, 20)
    a, b = jax.random.normal(jax.random.key(0), (2, side, side), dtype)
    multiply = jax.jit(jnp.matmul)

    def run() -> None:
        for _ in range(times):
            product = multiply(a, b)
        product.block_until_ready()

    run()
    return run, 2.0 * side**3 * times


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def plot(
    path: Path, title: str, times: dict[str, list[float]], batch_size: int, floor: float
) -> None:
    rates = [batch_size / statistics.median(taken) for taken in times.values()]
    figure, axes = plt.subplots(figsize=(8, 0.6 * len(times) + 1.2), layout="constrained")
    bars = axes.barh(list(times), rates, color=["tab:blue", "lightblue"] + ["gray"] * len(times))
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.axvline(floor, color="black", linestyle=":")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlabel="samples a second", xlim=(0, 1.1 * max(*rates, floor)))
    axes.set_title(f"{title}\ndotted: no padding, at the matmul rate", fontsize=10)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
