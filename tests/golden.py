"""Reads golden numbers; weights are rebuilt from the rule that made them."""

import dataclasses
import functools
import json
import re
import zlib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from vtmask import convert
from vtmask.masking import Masked
from vtmask.models.vlm import VLM, VLMSizes

WORDS = "mm_encoder.bert.embeddings.word_embeddings.weight"
COMPACT = Path(__file__).parent / "golden"


def weight(tag: str, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """A made-up weight: seeded by its published name, scaled by its kind."""
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


def published_shapes(meta: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published VLM's parameters that outputs use."""
    bert = meta["bert"]
    hidden, mlp = bert["hidden_size"], bert["intermediate_size"]
    linear: dict[str, tuple[int, int]] = {
        "videomlp.linear1": (hidden, meta["feature_dim"]),
        "videomlp.linear2": (hidden, hidden),
        "cls.predictions.transform.dense": (hidden, hidden),
    }
    norms = [
        "videomlp.LayerNorm",
        "bert.embeddings.LayerNorm",
        "cls.predictions.transform.LayerNorm",
    ]
    for i in range(bert["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{i}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            linear[f"{layer}.attention.{name}"] = (hidden, hidden)
        linear[f"{layer}.intermediate.dense"] = (mlp, hidden)
        linear[f"{layer}.output.dense"] = (hidden, mlp)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    tables = {
        "word": bert["vocab_size"],
        "position": bert["max_position_embeddings"],
        "token_type": bert["type_vocab_size"],
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    for name, rows in tables.items():
        shapes[f"bert.embeddings.{name}_embeddings.weight"] = (rows, hidden)
    return {f"mm_encoder.{name}": shape for name, shape in shapes.items()}


def s3d_weights(case: Any) -> dict[str, np.ndarray]:
    """S3D's, by their published names."""
    facts = meta(case)
    return {key: weight(facts["tag"], key, tuple(shape)) for key, shape in facts["keys"].items()}


def meta(case: Any) -> dict[str, Any]:
    return json.loads(str(case["meta"]))


def vlm(case: Any, kind: str = "vlm") -> tuple[VLM, dict[str, Any]]:
    """The model and the parameters of a golden case, of the model that `kind` names."""
    facts = meta(case)
    bert = facts["bert"]
    sizes = VLMSizes(
        hidden_size=bert["hidden_size"],
        num_layers=bert["num_hidden_layers"],
        num_heads=bert["num_attention_heads"],
        mlp_size=bert["intermediate_size"],
        vocab_size=bert["vocab_size"],
        num_positions=bert["max_position_embeddings"],
        feature_size=facts["feature_dim"],
        max_video_len=facts["max_video_len"],
        max_len=facts["max_len"],
        pad_id=facts["pad_token_id"],
        cls_id=facts["cls_token_id"],
        sep_id=facts["sep_token_id"],
        mask_id=facts["mask_token_id"],
    )
    params = convert.vlm_from_published(published_weights(case, kind))
    if "classifier" in params:
        sizes = dataclasses.replace(sizes, num_classes=len(params["classifier"]["bias"]))
    return VLM(sizes), params


def published_weights(case: Any, kind: str) -> dict[str, np.ndarray]:
    """Those in the file where it has them, or else from the rule."""
    inside = {k.removeprefix("param/"): case[k] for k in case.files if k.startswith("param/")}
    if WORDS in inside:
        return inside
    facts = meta(case)
    tag, shapes = f"{facts['tag']}/{kind}", published_shapes(facts)
    if kind == "seg":
        classes = case["logits"].shape[-1]
        hidden = facts["bert"]["hidden_size"]
        shapes |= {
            f"mm_encoder.classifier.{name}": (classes, *rest)
            for name, rest in {"weight": (hidden,), "bias": ()}.items()
        }
    weights = {name: weight(tag, name, shape) for name, shape in shapes.items()}
    if kind in ("vlm", "nlg"):  # tied to the words, the decoder's numbers were made last
        weights[WORDS] = weight(tag, "mm_encoder.cls.predictions.decoder.weight", shapes[WORDS])
    return weights | inside


def batch(case: Any, prefix: str = "") -> dict[str, jnp.ndarray]:
    """Our batch from published inputs, whose text begins with `[CLS] [SEP]`."""
    return {
        "video": jnp.asarray(case[prefix + "vfeats"]),
        "video_mask": jnp.asarray(case[prefix + "vmasks"]),
        "text": jnp.asarray(case[prefix + "caps"][:, 2:], jnp.int32),
        "text_mask": jnp.asarray(case[prefix + "cmasks"][:, 2:]),
    }


def masked(case: Any, input_text: np.ndarray, prefix: str = "") -> Masked:
    """The masks of a golden case, whose model saw `input_text` [B, 2 + T]."""
    return Masked(
        jnp.asarray(input_text[:, 2:], jnp.int32),
        jnp.asarray(case[prefix + "text_label"][:, 2:] != -100),
        jnp.asarray(case[prefix + "video_label"]),
    )


def get(tree: dict[str, Any], published_name: str) -> np.ndarray | None:
    """A parameter or gradient in its published shape; None for one that our model leaves out."""
    path = convert.published_name(published_name)
    if path is None:
        return None
    value: Any = functools.reduce(lambda node, key: node[key], path.split("/"), tree)
    return np.asarray(value.T if path.endswith("/kernel") else value)
