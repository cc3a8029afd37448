"""Time, size, recall and memory of search in many seconds of video.

    python benchmarks/search.py
    python benchmarks/search.py --seconds=10000000 --size=128
    python benchmarks/search.py --seconds=200000 --kinds=flat,IvfSq,IvfRq,IvfHnswSq,IvfPq

Vectors are made up in blocks: seconds of a scene are alike, scenes are of topics, and a query is a
topic. Each kind of index is built and asked in a process of its own, which tells its peak memory.
NumPy reads the same vectors from a file, in blocks; faiss holds them in memory.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lancedb.index
import numpy as np
import pyarrow as pa

from vtmask.search import store
from vtmask.search.store import Tables

BLOCK = 50_000  # seconds written at a time
TOPICS, SCENE = 2000, 20  # topics; seconds of a scene
K = 10
SHIPPED = "shipped"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=768, help="numbers in a vector")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument(
        "--kinds",
        default=f"numpy,faiss,flat,{SHIPPED}",
        help="of those by default, and classes of lancedb.index (%(default)s)",
    )
    parser.add_argument("--out", type=Path, default=Path("search-benchmark"), help="is kept")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    queries = topics(options.size)[: options.queries] * 1.0
    file = options.out / f"{options.seconds}x{options.size}.npy"
    if not file.exists():
        write(file, options.seconds, options.size)
    exact, times = by_numpy(file, queries)
    print(f"{options.seconds:,} x {options.size}, {options.queries} queries for {K}")
    for kind in options.kinds.split(","):
        if kind == "numpy":
            stats = {"build [s]": 0, "size [MB]": file.stat().st_size / 1e6, **spread(times)}
        else:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found, stats = pool.apply(measure, (kind, file, queries, options.out))
            shared = [len(set(a) & set(b)) / K for a, b in zip(found, exact, strict=True)]
            stats["recall@10"] = sum(shared) / len(shared)
        print(
            f"{kind}: {json.dumps({k: round(float(v), 3) for k, v in stats.items()})}", flush=True
        )


def topics(size: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((TOPICS, size), np.float32)


def blocks(seconds: int, size: int) -> Iterator[np.ndarray]:
    """float16 [up to BLOCK, size]."""
    rng, centres = np.random.default_rng(1), topics(size)
    for first in range(0, seconds, BLOCK):
        length = min(BLOCK, seconds - first)
        scenes = -(-length // SCENE)
        scene = centres[rng.integers(TOPICS, size=scenes)]
        scene = scene + rng.standard_normal((scenes, size), np.float32)
        second = rng.standard_normal((length, size), np.float32)
        yield (scene.repeat(SCENE, axis=0)[:length] + 0.5 * second).astype(np.float16)


def write(file: Path, seconds: int, size: int) -> None:
    part = file.with_suffix(".part")
    values = np.lib.format.open_memmap(part, "w+", np.float16, (seconds, size))
    for place, block in enumerate(blocks(seconds, size)):
        values[place * BLOCK : place * BLOCK + len(block)] = block
    values.flush()
    part.rename(file)


def by_numpy(file: Path, queries: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    """The best seconds of each query, and the time of a query asked alone, of a few."""
    values = np.load(file, mmap_mode="r")
    times = []
    for query in queries[:3]:
        since = time.perf_counter()
        best(values, query[None])
        times.append(time.perf_counter() - since)
    return list(best(values, queries)), times


def best(values: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The places of the K highest products, [queries, K]."""
    scores = np.concatenate(
        [
            queries @ values[first : first + BLOCK].astype(np.float32).T
            for first in range(0, len(values), BLOCK)
        ],
        axis=1,
    )
    return np.argpartition(-scores, K, axis=1)[:, :K]


def measure(
    kind: str, file: Path, queries: np.ndarray, out: Path
) -> tuple[list[list[int]], dict[str, float]]:
    values = np.load(file, mmap_mode="r")
    since = time.perf_counter()
    ask, size = (faiss_index if kind == "faiss" else lance_index)(kind, values, out)
    stats = {"build [s]": time.perf_counter() - since, "size [MB]": size / 1e6}
    ask(queries[0])
    times, found = [], []
    for query in queries:
        since = time.perf_counter()
        found.append(ask(query))
        times.append(time.perf_counter() - since)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found, stats | spread(times) | {
        "peak [MiB]": peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    }


def spread(times: list[float]) -> dict[str, float]:
    p50, p95 = np.quantile(times, [0.5, 0.95])
    return {"p50 [ms]": 1000 * p50, "p95 [ms]": 1000 * p95}


def lance_index(
    kind: str, values: np.ndarray, out: Path
) -> tuple[Callable[[np.ndarray], list[int]], int]:
    folder = out / f"{kind}-{len(values)}x{values.shape[1]}"
    tables = Tables(folder, values.shape[1])
    if not tables.seconds.count_rows():
        for first in range(0, len(values), BLOCK):
            block = np.asarray(values[first : first + BLOCK])
            columns: dict[str, Any] = {
                "video": np.full(len(block), first // BLOCK),
                "place": np.arange(len(block), dtype=np.int32),
                "vector": store.vectors(block.astype(np.float32)),
            }
            tables.seconds.add(pa.table(columns, schema=tables.schemas["seconds"]))
        if kind == SHIPPED:
            tables.make_vector_index()
        elif kind != "flat":
            config = getattr(lancedb.index, kind)(distance_type="dot")
            tables.seconds.create_index("vector", config=config)

    def ask(query: np.ndarray) -> list[int]:
        rows = store.nearest(tables.seconds, query, K)
        pairs = zip(rows["video"].to_pylist(), rows["place"].to_pylist(), strict=True)
        return [video * BLOCK + place for video, place in pairs]

    return ask, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def faiss_index(
    kind: str, values: np.ndarray, out: Path
) -> tuple[Callable[[np.ndarray], list[int]], int]:
    """Inverted lists of scalars, as those of lancedb.index.IvfSq."""
    del kind
    import faiss

    lists = max(int(len(values) ** 0.5), 1)
    index = faiss.index_factory(values.shape[1], f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    rng = np.random.default_rng(2)
    drawn = np.sort(rng.choice(len(values), min(50 * lists, len(values)), replace=False))
    index.train(values[drawn].astype(np.float32))
    for first in range(0, len(values), BLOCK):
        index.add(values[first : first + BLOCK].astype(np.float32))
    faiss.ParameterSpace().set_index_parameter(index, "nprobe", 40)
    faiss.write_index(index, str(out / "faiss.index"))

    def ask(query: np.ndarray) -> list[int]:
        return index.search(query[None], K)[1][0].tolist()

    return ask, (out / "faiss.index").stat().st_size


if __name__ == "__main__":
    main()
