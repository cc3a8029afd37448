"""Speed and memory of building a manifest of many rows.

    python benchmarks/manifest.py --out=DIR [--rows=1000000] [--rows_per_video=50]

Makes Parquet tables of made-up rows in random order, and features that the rows of a video share;
builds the data set in a separate process, and prints rows a second, processor time and peak memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROWS_PER_TABLE = 100_000
SIZE, SECONDS = 16, 120
_BEGINNINGS = ("ba", "ko", "li", "ma", "ne", "ro", "su", "ti")
WORDS = [beginning + end for beginning in _BEGINNINGS for end in "bdfgklmnprst"]


def make(folder: Path, rows: int, rows_per_video: int) -> None:
    import pyarrow
    from pyarrow import parquet

    (folder / "features").mkdir(parents=True)
    rng = np.random.default_rng(0)
    videos = [f"video{number:07d}" for number in range(-(-rows // rows_per_video))]
    for name in videos:
        features = rng.standard_normal((SECONDS, SIZE), np.float32).astype(np.float16)
        np.save(folder / f"features/{name}.npy", features)
    order = rng.permutation(rows) // rows_per_video
    for number, start in enumerate(range(0, rows, ROWS_PER_TABLE)):
        which = order[start : start + ROWS_PER_TABLE]
        begin = rng.uniform(0, SECONDS - 10, len(which)).round(2)
        words = rng.integers(len(WORDS), size=(len(which), 10))
        table = pyarrow.table(
            {
                "id": [videos[i] for i in which],
                "caption": [" ".join(WORDS[i] for i in row) for row in words],
                "from": begin,
                "to": begin + rng.uniform(1, 10, len(which)).round(2),
                "score": rng.uniform(size=len(which)).round(4),
            }
        )
        parquet.write_table(table, folder / f"part-{number:05d}.parquet")
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])
    )


def build(folder: Path) -> None:
    """Builds the data set; prints seconds, processor seconds and peak memory as JSON."""
    import tensorflow_datasets as tfds

    from data.manifest.manifest_dataset_builder import Builder, ManifestConfig

    config = ManifestConfig(
        name="million",
        feature_size=SIZE,
        video="id",
        text="caption",
        start="from",
        end="to",
        extra=["score"],
    )
    builder = Builder(config=config, data_dir=folder / "data")
    started, worked = time.monotonic(), time.process_time()
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=folder / "manual")
    )
    seconds, processor = time.monotonic() - started, time.process_time() - worked
    report = json.loads((Path(builder.data_path) / "build_report.json").read_text())["train"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures = {"seconds": seconds, "processor": processor, "GiB": peak, "videos": report["videos"]}
    print(json.dumps(figures | {"captions": report["captions"]["seconds_per_caption"]["count"]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rows_per_video", type=int, default=50)
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build(options.out)
        return
    make(options.out / "manual", options.rows, options.rows_per_video)
    command = [sys.executable, __file__, f"--out={options.out}", "--build"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    built = json.loads(done.stdout.splitlines()[-1])
    print(f"{options.rows:,} rows of {built['videos']:,} videos: {built['captions']:,} captions")
    print(f"{built['seconds']:.0f} s, {options.rows / built['seconds']:,.0f} rows/s")
    rate = options.rows / built["processor"]
    print(f"{built['processor']:.0f} s of processor time, {rate:,.0f} rows/s of a core")
    print(f"peak memory {built['GiB']:.2f} GiB")


if __name__ == "__main__":
    main()
