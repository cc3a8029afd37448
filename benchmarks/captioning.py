"""Captions a second by beam search, against Hugging Face's `generate` if PyTorch is installed.

    pip install -e '.[benchmark]'
    python benchmarks/captioning.py
    taskset -c 0 python benchmarks/captioning.py        # one core, if others use the machine
    python benchmarks/captioning.py --batch_size 32 128 512        # on a GPU

Both have BERT-base's sizes, random float32 weights and 5 beams. They read 34 positions (`[CLS]`, 32
frames, `[SEP]`; token ids in PyTorch, whose model takes no frames) and a start token, and write 24
tokens, none of which ends a caption. They take turns. Prints medians, and ratios of each turn.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vtmask.models import VLM, VLMConfig
from vtmask.tasks.captioning import PROMPT_LENGTH, Captioning

CONFIGS = VLMConfig()
TOKENS, BEAMS = 24, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch_size", type=int, nargs="+", default=[8, 16, 32], help="clips")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(jax.devices()[0].device_kind)
    print("| clips per call | | captions/s, median (min to max) | JAX's speedup |")
    print("|---:|---|---:|---:|")
    for clips in options.batch_size:
        measure(clips, options.rounds)


def measure(clips: int, rounds: int) -> None:
    runs = {"JAX": jax_run(clips), **torch_runs(clips)}
    for run in runs.values():
        run()  # compiles
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    for name, taken in times.items():
        rates = sorted(clips / t for t in taken)
        ratios = sorted(a / b for a, b in zip(taken, times["JAX"], strict=True))
        print(
            f"| {clips} | {name} | {statistics.median(rates):.2f} ({rates[0]:.2f} to "
            f"{rates[-1]:.2f}) | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to "
            f"{ratios[-1]:.2f}) |"
        )


def jax_run(clips: int) -> Callable[[], Any]:
    """Returns a function that captions the clips, which are on the device."""
    model = VLM(CONFIGS)
    task = Captioning(num_beams=BEAMS, max_decode_length=TOKENS + PROMPT_LENGTH)
    frames, words = (clips, CONFIGS.max_video_len), (clips, CONFIGS.max_text_len)
    batch = {
        "video": jax.random.normal(jax.random.key(1), (*frames, CONFIGS.feature_size)),
        "video_mask": jnp.ones(frames, bool),
        "text": jnp.zeros(words, jnp.int32),
        "text_mask": jnp.ones(words, bool),
    }
    params = jax.jit(model.init)(jax.random.key(0), batch)["params"]
    params["decoder_bias"] = params["decoder_bias"].at[CONFIGS.sep_id].set(-1e9)
    generate = jax.jit(nn.apply(task.generate, model))
    return lambda: jax.block_until_ready(generate({"params": params}, batch))


def torch_runs(clips: int) -> dict[str, Callable[[], Any]]:
    """The same in PyTorch; empty if it or transformers is missing."""
    try:
        import torch
        from transformers import BertConfig, BertLMHeadModel
    except ImportError:
        print("PyTorch and transformers are not installed: JAX alone is measured")
        return {}
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = BertLMHeadModel(BertConfig(is_decoder=True)).eval().to(device)
    length = CONFIGS.max_video_len + 3
    prompt = torch.randint(1000, CONFIGS.vocab_size, (clips, length), device=device)
    settings = {
        "attention_mask": torch.ones_like(prompt),
        "num_beams": BEAMS,
        "max_new_tokens": TOKENS,
        "do_sample": False,
        "early_stopping": False,
        "eos_token_id": None,
        "pad_token_id": CONFIGS.pad_id,
    }

    def run() -> Any:
        with torch.inference_mode():
            generated = model.generate(prompt, **settings).cpu()
        assert generated.shape == (clips, length + TOKENS)
        return generated

    return {"PyTorch": run}


if __name__ == "__main__":
    main()
