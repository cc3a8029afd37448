"""Frames a second of S3D, against the same network in PyTorch if that is installed.

    pip install -e '.[benchmark]'
    python benchmarks/s3d.py
    python benchmarks/s3d.py --dtype=bfloat16 --batch_size=32        # on a GPU

All have the same weights and are checked to give the same embeddings. They take turns. Prints
medians, ratios of each turn, and the rate of a large matmul, which no network exceeds.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from training import matmul

from vtmask import convert
from vtmask.models.s3d import MAX_WORDS, S3D

FRAMES, SIZE = 30, 224


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch_size", type=int, default=4, help="windows of 30 frames")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    shape = (options.batch_size, FRAMES, SIZE, SIZE, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    others, weights = torch_runs(frames, options.dtype)
    ours, flops = jax_run(frames, options.dtype, weights)
    runs = {"JAX": ours, **others}
    embeddings = {name: run() for name, run in runs.items()}  # compiles, too
    tolerance = 1e-4 if options.dtype == "float32" else 3e-2
    for name, embedded in embeddings.items():
        error = np.abs(embedded - embeddings["JAX"]).max() / np.abs(embedded).max()
        assert error < tolerance, f"{name} differs by {error}"

    product, product_flops = matmul(options.dtype)
    runs["matmul"] = product
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    peak = product_flops / statistics.median(times.pop("matmul"))

    print(f"{jax.devices()[0].device_kind}, {options.dtype}, {options.batch_size} windows per call")
    per_frame = flops / (options.batch_size * FRAMES)
    print(f"matmul: {peak / 1e9:,.0f} GFLOP/s; S3D: {per_frame / 1e9:.2f} GFLOP a frame")
    print("| | frames/s, median (min to max) | of the matmul rate | JAX's speedup |")
    print("|---|---:|---:|---:|")
    for name, taken in times.items():
        rates = sorted(options.batch_size * FRAMES / t for t in taken)
        ratio = statistics.median(a / b for a, b in zip(taken, times["JAX"], strict=True))
        share = flops / statistics.median(taken) / peak
        print(
            f"| {name} | {statistics.median(rates):,.1f} ({rates[0]:,.1f} to {rates[-1]:,.1f}) "
            f"| {share:.0%} | {ratio:.2f} |"
        )


def jax_run(
    frames: np.ndarray, dtype: str, weights: dict[str, np.ndarray] | None
) -> tuple[Callable[[], np.ndarray], float]:
    """Returns a function that embeds the frames, which are on the device, and its FLOPs."""
    model = S3D(dtype=dtype)
    if weights is None:
        words = jnp.zeros((1, MAX_WORDS), jnp.int32)
        params = jax.jit(model.init)(jax.random.key(0), frames[:1, :2, :32, :32], words)["params"]
    else:
        params = convert.s3d_from_published(weights)

    def embed(params: Any, frames: jax.Array) -> jax.Array:
        return model.apply({"params": params}, frames, method=model.embed_video)[0]

    arguments = jax.device_put((params, frames))
    lowered = jax.jit(embed).lower(*arguments)
    cost = lowered.cost_analysis()  # a GPU's compiled program hides its convolutions
    assert cost is not None
    compiled = lowered.compile()
    return lambda: np.asarray(compiled(*arguments)), cost["flops"]


def torch_runs(
    frames: np.ndarray, dtype: str
) -> tuple[dict[str, Callable[[], np.ndarray]], dict[str, np.ndarray] | None]:
    """The same in PyTorch, in each memory layout, and the weights; empty if it is missing."""
    try:
        import torch
        from torch_s3d import S3D as TorchS3D
    except ImportError:
        print("PyTorch is not installed: JAX alone is measured")
        return {}, None
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = TorchS3D().eval()
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    data = torch.from_numpy(frames).to(device)

    def run(layout: Any) -> Callable[[], np.ndarray]:
        placed = TorchS3D().eval()
        placed.load_state_dict(network.state_dict())
        placed = placed.to(device, getattr(torch, dtype), memory_format=layout)

        def embed() -> np.ndarray:
            with torch.inference_mode():
                return placed(data).float().cpu().numpy()

        return embed

    return {
        "PyTorch, as published": run(torch.contiguous_format),
        "PyTorch, channels last": run(torch.channels_last_3d),
    }, weights


if __name__ == "__main__":
    main()
