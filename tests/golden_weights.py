"""Makes the weights of golden cases by their rule, without JAX, for programs with PyTorch."""

import re
import zlib
from typing import Any

import numpy as np


def weight(tag: str, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Makes a weight that is seeded by its published name and scaled by its kind."""
    seed = zlib.crc32(f"{tag}/{key}".encode())
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    if key.endswith("running_var"):
        return 1 + np.float32(0.1) * np.abs(x)
    if "LayerNorm.weight" in key or re.search(r"bn[12]\.weight$", key):
        return 1 + np.float32(0.1) * x
    if key.endswith(("bias", "running_mean")):
        return np.float32(0.1) * x
    if "embeddings" in key or "word_embd" in key:
        return np.float32(0.5) * x
    return (np.float32(1.2) / np.sqrt(np.prod(shape[1:] or shape))).astype(np.float32) * x


def s3d(facts: dict[str, Any], gain: float = 1.0) -> dict[str, np.ndarray]:
    """Makes S3D's weights by published name; those of convolutions are `gain` times as large."""
    weights = {key: weight(facts["tag"], key, tuple(shape)) for key, shape in facts["keys"].items()}
    for key in weights:
        if re.search(r"conv[12]\.weight$", key):
            weights[key] = np.float32(gain) * weights[key]
    return weights
