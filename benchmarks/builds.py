"""Builds every public data set from its published annotations, with made-up features.

    python benchmarks/builds.py --reference_dir=DIR --out=DIR

DIR has a folder for each: msrvtt, youcook2, coin, crosstask, didemo, activitynet, charades and
qvhighlights, with the files that the READMEs under data/ name, and bert-base-uncased-vocab.txt.
Features are random, four numbers a second, as long as the annotations reach. Prints a table: videos
and texts by split, skipped videos, processor seconds of the build.
"""

import argparse
import contextlib
import importlib
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from vtmask.datasets.builder import VideoTextBuilder
from vtmask.datasets.entries import FeatureFile, FeatureLabels, Moments, TimedTexts, Video
from vtmask.inputs.dataset import Dataset

SIZE = 4
VOCABULARY = "bert-base-uncased-vocab.txt"


class Published(NamedTuple):
    """A builder, its folder of published files, and the field that has its texts."""

    name: str
    folder: str
    texts: str
    options: dict[str, Any] = {}


BUILDS = {
    "msrvtt 1k-a": Published("msrvtt", "msrvtt", "descriptions", {"protocol": "1k-a"}),
    "msrvtt full": Published("msrvtt", "msrvtt", "descriptions", {"protocol": "full"}),
    "youcook2": Published("youcook2", "youcook2", "clips"),
    "coin": Published("coin", "coin", "steps"),
    "crosstask": Published("crosstask", "crosstask", "steps"),
    "didemo": Published("didemo", "didemo", "moments"),
    "activitynet": Published("activitynet", "activitynet", "moments"),
    "charades_sta": Published("charades_sta", "charades", "moments"),
    "qvhighlights": Published("qvhighlights", "qvhighlights", "moments"),
}


class Built(NamedTuple):
    """The result of a build.

    Attributes:
      counts: videos and texts of each split.
      skipped: id of a video → reason.
      seconds: of processor time that the build took, without making the features.
    """

    builder: VideoTextBuilder
    counts: dict[str, tuple[int, int]]
    skipped: dict[str, str]
    seconds: float


def build(published: Published, reference: Path, out: Path) -> Built:
    """Makes features in `out` for the annotated videos, and builds the data set there."""
    module = importlib.import_module(f"data.{published.name}.{published.name}_dataset_builder")
    features = out / published.folder / "features"
    features.mkdir(parents=True, exist_ok=True)
    config = module.Builder.builder_config_cls(
        name="published", features=str(features), feature_size=SIZE, **published.options
    )
    manual = reference / published.folder
    builder = module.Builder(
        config=config, data_dir=out / "data", tokenizer=str(reference / VOCABULARY)
    )
    _make_features(builder, manual)
    started = time.process_time()
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(manual))
    )
    seconds = time.process_time() - started
    report = json.loads((Path(builder.data_path) / "build_report.json").read_text())
    return Built(
        builder,
        {split: _count(builder, split, published.texts) for split in report},
        {video["video_id"]: video["reason"] for r in report.values() for video in r["skipped"]},
        seconds,
    )


def _make_features(builder: VideoTextBuilder, manual: Path) -> None:
    rng = np.random.default_rng(0)
    for entries in builder.splits(manual).values():
        for video in entries:
            if isinstance(video, Video) and isinstance(video.features, FeatureFile):
                length = math.ceil(max(_ends(video), default=rng.integers(10, 31)))
                features = rng.standard_normal((max(length, 1), SIZE), np.float32)
                np.save(video.features.path, features.astype(np.float16))


def _ends(video: Video) -> Iterator[float]:
    """Yields the end of each annotated part of the video."""
    for annotation in (video.captions, *video.annotations.values()):
        if isinstance(annotation, TimedTexts):
            yield from (line.end for line in annotation.lines)
        elif isinstance(annotation, Moments):
            yield from (end for windows in annotation.windows for _, end in windows)
        elif isinstance(annotation, FeatureLabels):
            yield from (end for _, end, _ in annotation.steps)


def _count(builder: VideoTextBuilder, split: str, field: str) -> tuple[int, int]:
    dataset = Dataset(f"{builder.name}/published", split, str(builder.data_path.parents[2]))
    texts = 0
    for index in range(dataset.num_records):
        example = tf_example_pb2.Example.FromString(dataset.read([index])[0])
        texts += len(example.features.feature[f"{field}/text"].bytes_list.value)
    return dataset.num_records, texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reference_dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    print("| data set | videos / texts | skipped | seconds |\n|---|---|---:|---:|")
    for name, published in BUILDS.items():
        with contextlib.redirect_stdout(sys.stderr):  # TFDS prints its folders
            built = build(published, options.reference_dir, options.out / name)
        counts = ", ".join(f"{s} {v:,} / {t:,}" for s, (v, t) in built.counts.items())
        print(f"| {name} | {counts} | {len(built.skipped)} | {built.seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
