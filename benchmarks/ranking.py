"""Time and memory of ranking many candidates for many queries.

    python benchmarks/ranking.py
    python benchmarks/ranking.py --queries=1000 --candidates=100000

Embeddings are random, and the candidates' a memory-mapped file. The rate counts each dot product of
a query and a candidate once, and is compared with that of a large float32 matmul.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vtmask.evaluation import metrics
from vtmask.ranking import rank

ROWS = 1 << 16  # written at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=128, help="numbers in an embedding")
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--query_block", type=int, default=512)
    parser.add_argument("--candidate_block", type=int, default=8192)
    options = parser.parse_args()

    peak = product_rate()
    rng = np.random.default_rng(0)
    right = rng.integers(0, options.candidates, options.queries)
    with tempfile.TemporaryDirectory() as folder:
        candidates = embeddings(Path(folder) / "candidates.npy", options.candidates, options.size)
        noise = rng.standard_normal((options.queries, options.size), np.float32)
        queries = candidates[right] + 2 * noise
        before = peak_memory()
        since = time.perf_counter()
        ranking = rank(
            queries,
            candidates,
            right,
            options.top,
            options.query_block,
            options.candidate_block,
        )
        passed = time.perf_counter() - since
    rate = 2.0 * options.queries * options.candidates * options.size / passed
    print(
        f"{jax.devices()[0].device_kind}: {options.queries:,} queries x {options.candidates:,} "
        f"candidates x {options.size}, compilation included"
    )
    print(f"{passed:.1f} s, {rate / 1e9:,.0f} GFLOP/s, {rate / peak:.0%} of a matmul's")
    print(f"matmul: {peak / 1e9:,.0f} GFLOP/s")
    print(f"peak memory, MiB: {peak_memory():,}, before ranking {before:,}")
    print("metrics:", metrics.retrieval_of_ranks(ranking.ranks))


def embeddings(path: Path, number: int, size: int) -> np.ndarray:
    """Normal numbers in a file, mapped to memory."""
    rng = np.random.default_rng(1)
    written = np.lib.format.open_memmap(path, "w+", np.float32, (number, size))
    for start in range(0, number, ROWS):
        rows = written[start : start + ROWS]
        rows[:] = rng.standard_normal(rows.shape, np.float32)
    written.flush()
    del written  # and its pages, which would count as memory
    return np.load(path, mmap_mode="r")


def product_rate(rounds: int = 9) -> float:
    """FLOPs a second of a matmul of square matrices in float32, the median of all rounds."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    matrix = jnp.ones((side, side), jnp.float32)
    multiply = jax.jit(lambda a: jnp.matmul(a, a, precision=jax.lax.Precision.HIGHEST))
    times = []
    for _ in range(rounds):
        since = time.perf_counter()
        multiply(matrix).block_until_ready()
        times.append(time.perf_counter() - since)
    return 2.0 * side**3 / statistics.median(times)


def peak_memory() -> int:
    """Of this process, in MiB; resident pages of mapped files count."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20


if __name__ == "__main__":
    main()
