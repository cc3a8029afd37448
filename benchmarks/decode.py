"""Frames a second that are decoded, resized and delivered, without a model.

    python benchmarks/decode.py [VIDEO …]

Without a video it makes one: 60 s of 1280 x 720 at 25 frames/s in H.264. Each is decoded for S3D,
to 30 frames/s of 224 x 224: in this process, in one decoder process, and in one per core, as
`vtmask extract` does.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np

from vtmask.features import decode, extraction
from vtmask.features.listing import Listed
from vtmask.features.window import Window

WINDOW = Window(frames=30, frame_rate=30, image_size=224)  # of vtmask.features.s3d, without JAX


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos = options.videos or [render(Path(folder) / "720p.mp4")]
        for video in videos:
            measure(video, options.rounds)


def measure(video: Path, rounds: int) -> None:
    cores = os.cpu_count() or 1
    runs: dict[str, Callable[[], int]] = {
        "this process": partial(in_this_process, video),
        **{f"{n} decoder(s)": partial(in_processes, video, n) for n in sorted({1, cores})},
    }
    print(f"{video.name}")
    for name, run in runs.items():
        rates = []
        for _ in range(rounds):
            start = time.perf_counter()
            frames = run()
            rates.append(frames / (time.perf_counter() - start))
        print(
            f"{name:>16}: {statistics.median(rates):8,.0f} frames/s "
            f"({min(rates):,.0f} to {max(rates):,.0f})"
        )


def in_this_process(video: Path) -> int:
    return sum(len(window) for window in decode.windows(video, WINDOW))


def in_processes(video: Path, number: int) -> int:
    """All decode the same video; the time that they take to start counts."""
    videos = [Listed(str(i), video) for i in range(2 * number)]
    events = extraction.decoded(videos, WINDOW, number, ahead=16)
    return sum(len(item) for _, item in events if isinstance(item, np.ndarray))


def render(path: Path) -> Path:
    """Renders drifting noise and moving stripes, so that there is something to decode."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (90, 160, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.options = {"preset": "veryfast"}
        for i in range(60 * 25):
            picture = np.roll(noise, (i, 3 * i), (0, 1))
            picture[:, 5 * i % 1280 : 5 * i % 1280 + 40] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


if __name__ == "__main__":
    main()
