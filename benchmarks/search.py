"""Time, size, recall and memory of search in many seconds of video.

    python benchmarks/search.py
    python benchmarks/search.py --seconds=10000000 --size=128
    python benchmarks/search.py --seconds=200000 --kinds=flat,IvfSq,IvfRq,IvfHnswSq,IvfPq

Vectors are made up in blocks: seconds of a scene are alike, scenes are of topics, and a query is a
topic. One process builds an index and another searches it, so that each has its own peak memory.
NumPy reads the same vectors from a file, in blocks; faiss holds them in memory.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lancedb.index
import numpy as np
import pyarrow as pa

from vtmask.search import store
from vtmask.search.indexing import AT_ONCE
from vtmask.search.store import Tables

BLOCK = 50_000  # seconds made up, and read by NumPy, at a time
TOPICS, SCENE = 2000, 20  # topics; seconds of a scene
K = 10
SHIPPED = "shipped"
WARMING = 3  # queries before those that are timed


class Job(NamedTuple):
    """A kind of index, the file of its vectors, and the folder or file of the index."""

    kind: str
    file: Path
    out: Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=768, help="numbers in a vector")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument(
        "--kinds",
        default=f"numpy,faiss,{SHIPPED}",
        help="of those by default, flat, and classes of lancedb.index (%(default)s)",
    )
    parser.add_argument("--out", type=Path, default=Path("search-benchmark"), help="is kept")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    queries = topics(options.size)[: options.queries]
    file = options.out / f"{options.seconds}x{options.size}.npy"
    if not file.exists():
        alone(write, file, options.seconds, options.size)
    exact, stats = alone(by_numpy, file, queries)
    print(f"{options.seconds:,} x {options.size}, {options.queries} queries for {K}")
    for kind in options.kinds.split(","):
        if kind != "numpy":
            job = Job(kind, file, options.out / f"{kind}-{file.stem}")
            stats = alone(build, job)
            places, asked = alone(search, job, queries)
            same = [len(set(a) & set(b)) / K for a, b in zip(places, exact, strict=True)]
            stats |= asked | {"recall@10": sum(same) / len(same)}
        shown = {name: round(float(value), 3) for name, value in stats.items()}
        print(f"{kind}: {json.dumps(shown)}", flush=True)


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a separate process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def topics(size: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((TOPICS, size), np.float32)


def blocks(seconds: int, size: int) -> Iterator[np.ndarray]:
    """Makes up vectors, float16 [up to BLOCK, size]."""
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


def read(file: Path, count: int) -> Iterator[np.ndarray]:
    """Reads vectors, float32 [up to count, size], without keeping the file's pages."""
    rows = len(np.load(file, mmap_mode="r"))
    for first in range(0, rows, count):
        yield np.load(file, mmap_mode="r")[first : first + count].astype(np.float32)


def by_numpy(file: Path, queries: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """Returns the places of each query's best seconds, and figures of single queries."""
    times = []
    for query in queries[:WARMING]:
        since = time.perf_counter()
        best(file, query[None])
        times.append(time.perf_counter() - since)
    stats = {"size [MB]": file.stat().st_size / 1e6, **quantiles(times), "peak [MiB]": peak()}
    return best(file, queries), stats


def best(file: Path, queries: np.ndarray) -> np.ndarray:
    """Returns the places of the K highest products, [queries, K]."""
    scores: list[np.ndarray] = []  # of the K best seconds of each block, [queries, K]
    places: list[np.ndarray] = []
    for number, block in enumerate(read(file, BLOCK)):
        of_block = queries @ block.T
        highest = np.argpartition(-of_block, K, axis=1)[:, :K]
        scores.append(np.take_along_axis(of_block, highest, axis=1))
        places.append(highest + number * BLOCK)
    highest = np.argpartition(-np.concatenate(scores, axis=1), K - 1, axis=1)[:, :K]
    return np.take_along_axis(np.concatenate(places, axis=1), highest, axis=1)


def build(job: Job) -> dict[str, float]:
    since, used = time.perf_counter(), time.process_time()
    if job.kind == "faiss":
        build_faiss(job)
    else:
        build_lance(job)
    stats = {
        "build [s]": time.perf_counter() - since,
        "build CPU [s]": time.process_time() - used,
        "build peak [MiB]": peak(),
    }
    paths = [job.out] if job.out.is_file() else job.out.rglob("*")
    size = sum(path.stat().st_size for path in paths if path.is_file())
    return stats | {"size [MB]": size / 1e6}


def search(job: Job, queries: np.ndarray) -> tuple[list[list[int]], dict[str, float]]:
    ask = (ask_faiss if job.kind == "faiss" else ask_lance)(job)
    for query in queries[:WARMING]:
        ask(query)
    times, places = [], []
    for query in queries:
        since = time.perf_counter()
        places.append(ask(query))
        times.append(time.perf_counter() - since)
    return places, quantiles(times) | {"peak [MiB]": peak()}


def quantiles(times: list[float]) -> dict[str, float]:
    p50, p95 = np.quantile(times, [0.5, 0.95])
    return {"p50 [ms]": 1000 * p50, "p95 [ms]": 1000 * p95}


def peak() -> float:
    """Returns this process's highest resident memory in MiB, with pages of mapped files."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def build_lance(job: Job) -> None:
    shutil.rmtree(job.out, ignore_errors=True)
    tables = Tables(job.out, np.load(job.file, mmap_mode="r").shape[1])
    for number, block in enumerate(read(job.file, AT_ONCE)):
        columns: dict[str, Any] = {
            "video": np.full(len(block), number),
            "place": np.arange(len(block), dtype=np.int32),
            "vector": store.vectors(block),
        }
        tables.seconds.add(pa.table(columns, schema=tables.schemas["seconds"]))
    if job.kind == SHIPPED:
        tables.tidy()
    elif job.kind != "flat":
        config = getattr(lancedb.index, job.kind)(distance_type="dot")
        tables.seconds.create_index("vector", config=config)


def ask_lance(job: Job) -> Callable[[np.ndarray], list[int]]:
    tables = Tables(job.out, np.load(job.file, mmap_mode="r").shape[1])

    def ask(query: np.ndarray) -> list[int]:
        rows = store.nearest(tables.seconds, query, K)
        pairs = zip(rows["video"].to_pylist(), rows["place"].to_pylist(), strict=True)
        return [number * AT_ONCE + place for number, place in pairs]

    return ask


def build_faiss(job: Job) -> None:
    """Inverted lists of scalars, like those of lancedb.index.IvfSq."""
    import faiss

    rows, size = np.load(job.file, mmap_mode="r").shape
    lists = min(int(rows**0.5), 1024)  # more take long to train
    index = faiss.index_factory(size, f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    rng, part = np.random.default_rng(2), min(50 * lists / rows, 1)
    sample = [block[rng.random(len(block)) < part] for block in read(job.file, BLOCK)]
    index.train(np.concatenate(sample))
    for block in read(job.file, BLOCK):
        index.add(block)
    faiss.write_index(index, str(job.out))


def ask_faiss(job: Job) -> Callable[[np.ndarray], list[int]]:
    import faiss

    index = faiss.read_index(str(job.out))
    faiss.ParameterSpace().set_index_parameter(index, "nprobe", 40)
    return lambda query: index.search(query[None], K)[1][0].tolist()


if __name__ == "__main__":
    main()
