"""The cost of adding 100 videos to an empty search index, and to one of 10,000 videos.

    python benchmarks/search_adding.py --model=demo-run/pretrain/export --out=runs/search_adding

Makes small video files, and features for them at random, since extraction costs the same for every
video. `vtmask index` then adds 100 videos a few times to each index. Prints wall-clock and
processor seconds, and those of LanceDB's own optimisation of all tables.
"""

import argparse
import datetime
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

import vtmask
from vtmask.features import feature_folder
from vtmask.search import indexing, sources, store
from vtmask.search.store import Tables

SECONDS, RATE, SIZE = 30, 1, 64  # of a video: its length, frames a second, pixels
ADDED, REPEATS = 100, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of an exported model")
    parser.add_argument("--out", type=Path, required=True, help="folder, which is replaced")
    parser.add_argument("--videos", type=int, default=10_000)
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    model = vtmask.load(options.model)
    config = model.exported.module.config
    content = video()
    for name, before in (("small", 0), ("large", options.videos)):
        index = options.out / name
        store.create(index, indexing.card_of(options.model, model, None))
        for count in [*([before] if before else []), *[ADDED] * REPEATS]:
            videos = options.out / f"videos-of-{name}"
            known = make(videos, index / "features", count, content, config.feature_size)
            report(f"{count:,} to {known:,}", indexing.index, [str(videos)], options.model, index)
        report("nothing new", indexing.index, [str(videos)], options.model, index)
        report("optimisation", optimise, Tables(index, config.hidden_size))


def make(videos: Path, features: Path, count: int, content: bytes, size: int) -> int:
    """Makes video files and their features; returns how many files there were before."""
    for folder in (videos, features):
        folder.mkdir(parents=True, exist_ok=True)
    known = len(os.listdir(videos))
    for number in range(known, known + count):
        path = videos / f"{number:06}.mp4"
        # A box that players skip makes every file different.
        path.write_bytes(content + (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big"))
        values = np.random.default_rng(number).standard_normal((SECONDS, size))
        file = feature_folder.features_file(features, sources.sha256_of(path))
        np.save(file, values.astype(np.float16))
    return known


def video() -> bytes:
    """Makes a small MP4 file."""

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for frame in frames():
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def frames() -> Iterator[av.VideoFrame]:
    rng = np.random.default_rng(0)
    for _ in range(SECONDS):
        picture = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        for _ in range(RATE):
            yield av.VideoFrame.from_ndarray(picture, "rgb24")


def optimise(tables: Tables) -> None:
    for table in (tables.videos, *tables.parts()):
        table.optimize(cleanup_older_than=datetime.timedelta(hours=1))


def report(name: str, function: Callable[..., Any], *arguments: Any) -> None:
    since, used = time.perf_counter(), sum(os.times()[:4])
    function(*arguments)
    wall, cpu = time.perf_counter() - since, sum(os.times()[:4]) - used
    print(f"{name}: {wall:.1f} s, CPU {cpu:.1f} s", flush=True)


if __name__ == "__main__":
    main()
