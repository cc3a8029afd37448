"""Latency of the Python API: one video of 32 seconds (features) against one text.

    python benchmarks/api.py
    taskset -c 0 python benchmarks/api.py        # one core, if others use the machine

VLM and VideoCLIP have BERT-base's sizes (VideoCLIP's video encoder has 6 layers, as published) and
random float32 weights; the text has 8 tokens, `[SEP]` included. `score` embeds both. Prints p50 and
p95 of consecutive calls after compilation, and the time of compilation.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vtmask import models, tokenizers
from vtmask.api import VideoTextModel
from vtmask.export import Model
from vtmask.models import VideoCLIPConfig, VLMConfig, initial_params

WORDS = ("how", "to", "cut", "an", "onion", "very", "fast")
TEXT = " ".join(WORDS)
TOKENIZER = tokenizers.WordPiece("\n".join((*tokenizers.CONTROL_SYMBOLS, *WORDS)).encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100)
    options = parser.parse_args()
    video = np.random.default_rng(0).standard_normal((32, 512)).astype(np.float32)
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    print(f"{jax.devices()[0].device_kind}; load average before: {load}")
    print("| model | call | p50 | p95 |")
    print("|---|---|---:|---:|")
    for name, model_config in (("VLM", VLMConfig()), ("VideoCLIP", VideoCLIPConfig())):
        model = random_model(model_config)
        compilation = seconds(model.score, video, TEXT)
        for call, arguments in (
            (model.embed_video, (video,)),
            (model.embed_text, (TEXT,)),
            (model.score, (video, TEXT)),
        ):
            taken = [1000 * seconds(call, *arguments) for _ in range(options.calls)]
            p50, p95 = np.percentile(taken, (50, 95))
            print(f"| {name} | {call.__name__} | {p50:.1f} ms | {p95:.1f} ms |")
        print(f"| {name} | first score, which compiles | {compilation:.1f} s | |", flush=True)


def random_model(model_config: VLMConfig) -> VideoTextModel:
    module = models.create(model_config)
    params = initial_params(module, 0)
    return VideoTextModel(Model(module, params, TOKENIZER, "made-up", 1.0, {}))


def seconds(call: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
