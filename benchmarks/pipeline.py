"""How fast clips reach JAX: `python benchmarks/pipeline.py --folder=FOLDER`.

Makes a data set of 2,000 records in the folder, once, like those of pre-training: 200 to 400
seconds of 512 numbers and a caption every four seconds. Then it prints, each measured in a separate
process:

- the floor: the bytes that a batch must read and write, at the speed of this machine's memory;
- clips a second delivered to JAX, in batches of 256 of 16 clips a record, and the peak of memory;
- the time from opening the data set to the first batch at a late step, with the shards repeated
  until they are a million records;
- memory over `--batches` batches.

It also writes how many frames and tokens 4,096 clips have, which `benchmarks/training.py` uses.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorflow_datasets as tfds
from tqdm import trange

from vtmask import tokenizers
from vtmask.datasets import records
from vtmask.datasets.writing import RecordBuilder
from vtmask.inputs import samplers
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.pipeline import TrainingBatches
from vtmask.models import VLMConfig

BATCH, CLIPS_PER_RECORD, RECORDS, MILLION = 256, 16, 2000, 1_000_000
CONFIGS = VLMConfig()


class Synthetic(RecordBuilder):
    """Random records of the sizes that pre-training has."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        metadata = tfds.core.MetadataDict(
            feature_extractor="random", seconds_per_feature=1.0, tokenizer="tokenizer.model"
        )
        features = records.features(CONFIGS.feature_size)
        return tfds.core.DatasetInfo(builder=self, features=features, metadata=metadata)

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        words = [" ".join(f"word{i + j}" for j in range(5)) for i in range(300)]
        tokenizer = tokenizers.train(words, 400)
        tokenizer.save(self.data_path)
        self.info.metadata["tokenizer_sha256"] = tokenizer.sha256
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number in trange(RECORDS, desc="records"):
            yield number, _record(np.random.default_rng(number), f"video{number}")


def _record(rng: np.random.Generator, video_id: str) -> dict[str, Any]:
    seconds = int(rng.integers(200, 401))
    features = rng.standard_normal((seconds, CONFIGS.feature_size), np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    num_tokens = rng.integers(3, 16, seconds // 4).astype(np.int32)
    start = np.sort(rng.uniform(0, seconds - 4, len(num_tokens))).astype(np.float32)
    nothing: dict[str, Any] = {"text": []} | records.join_tokens([])
    return {
        "video_id": video_id,
        "video": "",
        "features": features.astype(np.float16),
        "captions": {
            "text": ["as many words as usual here"] * len(num_tokens),
            "tokens": rng.integers(5, 400, num_tokens.sum(), np.int32),
            "num_tokens": num_tokens,
            "start": start,
            "end": start + 4,
        },
        "descriptions": nothing,
    }


def make(folder: Path) -> None:
    """Builds the data set, and one that links its shards repeatedly, up to a million records."""
    Synthetic(data_dir=folder / "data").download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=2)
    )
    small = folder / "data" / "synthetic" / "1.0.0"
    large = folder / "million" / "synthetic" / "1.0.0"
    if large.exists():
        return
    large.mkdir(parents=True)
    info = json.loads((small / "dataset_info.json").read_text())
    [split] = info["splits"]
    shards = sorted(small.glob("*.array_record-*"))
    times = MILLION // RECORDS
    total = len(shards) * times
    lengths = split["shardLengths"] * times
    for number in range(total):
        name = f"synthetic-train.array_record-{number:05d}-of-{total:05d}"
        os.link(shards[number % len(shards)], large / name)
    split["shardLengths"] = lengths
    (large / "dataset_info.json").write_text(json.dumps(info))
    for name in ("features.json", "metadata.json", "tokenizer.model"):
        os.link(small / name, large / name)


def batches(folder: Path) -> TrainingBatches:
    dataset = Dataset("synthetic", "train", str(folder))
    sampler = samplers.CaptionWindows(CONFIGS, CLIPS_PER_RECORD)
    return TrainingBatches([dataset], sampler, BATCH, seed=0)


def lengths(folder: Path) -> None:
    """Frames and tokens of clips, uint8 [4096, 2]."""
    drawn = islice(batches(folder / "data").from_step(0), 4096 // BATCH)
    masks = [(batch["video_mask"], batch["text_mask"]) for batch in drawn]
    lengths = [np.stack([mask.sum(axis=1) for mask in pair], axis=1) for pair in masks]
    np.save(Path(__file__).with_name("clip_lengths.npy"), np.concatenate(lengths).astype(np.uint8))


def speed(folder: Path, num_batches: int = 200, repeats: int = 7) -> dict[str, Any]:
    source = batches(folder / "data").from_step(0)
    for batch in islice(source, 20):
        jax.device_put(batch)
    rates, loads = [], []
    for _ in range(repeats):
        since, busy = time.perf_counter(), time.process_time()
        for batch in islice(source, num_batches):
            jax.block_until_ready(jax.device_put(batch))
        passed = time.perf_counter() - since
        rates.append(num_batches * BATCH / passed)
        loads.append((time.process_time() - busy) / (num_batches * BATCH))
    return {
        "clips/s": [round(rate) for rate in sorted(rates)],
        "median clips/s": round(statistics.median(rates)),
        "processor time a clip, microseconds": round(1e6 * statistics.median(loads), 1),
        "peak memory, MiB": _peak_memory(),
    }


def floor(folder: Path, repeats: int = 20) -> dict[str, Any]:
    """The least a batch takes: its records' bytes read once, its clips' bytes written once."""
    source = batches(folder / "data")
    read = [sum(map(len, d.read([i]))) for s in range(repeats) for d, i in source.records(s)]
    batch = next(source.from_step(0))
    record_bytes, batch_bytes = sum(read) / repeats, sum(x.nbytes for x in batch.values())
    block = np.ones(64 << 20, np.uint8)
    other = np.empty_like(block)
    times = []
    for _ in range(repeats):
        since = time.perf_counter()
        np.copyto(other, block)
        times.append(time.perf_counter() - since)
    copied = block.nbytes / statistics.median(times)
    return {
        "bytes read a batch": round(record_bytes),
        "bytes written a batch": batch_bytes,
        "copy, bytes/s of one core": round(copied),
        "floor of two cores, clips/s": round(2 * BATCH * copied / (record_bytes + batch_bytes)),
    }


def resume(folder: Path) -> dict[str, Any]:
    since = time.perf_counter()
    source = batches(folder / "million")
    next(source.from_step(12_345_678))
    return {
        "first batch after, s": round(time.perf_counter() - since, 2),
        "records": source.datasets[0].num_records,
        "peak memory, MiB": _peak_memory(),
    }


def growth(folder: Path, num_batches: int) -> dict[str, Any]:
    source = batches(folder / "million").from_step(0)
    used = {}
    for step, batch in enumerate(islice(source, num_batches), 1):
        jax.block_until_ready(jax.device_put(batch))
        if step % (num_batches // 10) == 0:
            used[step] = _memory()
    return {"memory after batches, MiB": used, "peak memory, MiB": _peak_memory()}


def _memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20


def _peak_memory() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=10_000)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    parts: dict[Callable[..., Any], tuple[Any, ...]] = {
        make: (options.folder,),
        lengths: (options.folder,),
        floor: (options.folder,),
        speed: (options.folder,),
        resume: (options.folder,),
        growth: (options.folder, options.batches),
    }
    for part, arguments in parts.items():
        with context.Pool(1) as pool:
            figures = pool.apply(part, arguments)
        for name, value in (figures or {}).items():
            print(f"{part.__name__:>8}  {name:<36}{value}", flush=True)


if __name__ == "__main__":
    main()
