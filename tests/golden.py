"""Reads golden numbers, and rebuilds weights by the rule that made them."""

import functools
import json
from pathlib import Path
from typing import Any

import golden_weights
import jax.numpy as jnp
import numpy as np
from golden_weights import weight

from vtmask import convert
from vtmask.masking import Masked
from vtmask.models import VLM, VideoCLIP, VideoCLIPConfig, VLMConfig

WORDS = "mm_encoder.bert.embeddings.word_embeddings.weight"
COMPACT = Path(__file__).parent / "golden"


def published_shapes(meta: dict[str, Any], kind: str) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of the published model's parameters that outputs use."""
    if kind == "videoclip":
        video = _encoder_shapes(meta, meta["num_hidden_video_layers"]) | _video_mlp_shapes(meta)
        text = _encoder_shapes(meta, meta["bert"]["num_hidden_layers"])
        return {f"video_encoder.{name}": shape for name, shape in video.items()} | {
            f"text_encoder.{name.removeprefix('bert.')}": shape for name, shape in text.items()
        }
    hidden = meta["bert"]["hidden_size"]
    shapes = _encoder_shapes(meta, meta["bert"]["num_hidden_layers"]) | _video_mlp_shapes(meta)
    shapes |= _linear("cls.predictions.transform.dense", hidden, hidden)
    shapes |= _norm("cls.predictions.transform.LayerNorm", hidden)
    return {f"mm_encoder.{name}": shape for name, shape in shapes.items()}


def _encoder_shapes(meta: dict[str, Any], num_layers: int) -> dict[str, tuple[int, ...]]:
    bert = meta["bert"]
    hidden, mlp = bert["hidden_size"], bert["intermediate_size"]
    shapes = _norm("bert.embeddings.LayerNorm", hidden)
    for i in range(num_layers):
        layer = f"bert.encoder.layer.{i}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= _linear(f"{layer}.attention.{name}", hidden, hidden)
        shapes |= _linear(f"{layer}.intermediate.dense", hidden, mlp)
        shapes |= _linear(f"{layer}.output.dense", mlp, hidden)
        shapes |= _norm(f"{layer}.attention.output.LayerNorm", hidden)
        shapes |= _norm(f"{layer}.output.LayerNorm", hidden)
    tables = {
        "word": bert["vocab_size"],
        "position": bert["max_position_embeddings"],
        "token_type": bert["type_vocab_size"],
    }
    for name, rows in tables.items():
        shapes[f"bert.embeddings.{name}_embeddings.weight"] = (rows, hidden)
    return shapes


def _video_mlp_shapes(meta: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    hidden = meta["bert"]["hidden_size"]
    return {
        **_linear("videomlp.linear1", meta["feature_dim"], hidden),
        **_norm("videomlp.LayerNorm", hidden),
        **_linear("videomlp.linear2", hidden, hidden),
    }


def _linear(name: str, size: int, out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, size), f"{name}.bias": (out,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def s3d_weights(case: Any, gain: float = 1.0) -> dict[str, np.ndarray]:
    """Returns S3D's weights by published name; those of convolutions are `gain` times as large."""
    return golden_weights.s3d(meta(case), gain)


def meta(case: Any) -> dict[str, Any]:
    return json.loads(str(case["meta"]))


def model_config(case: Any) -> dict[str, Any]:
    """Returns the settings of VLM and VideoCLIP from a golden case's sizes."""
    facts = meta(case)
    bert = facts["bert"]
    return {
        "hidden_size": bert["hidden_size"],
        "num_layers": bert["num_hidden_layers"],
        "num_heads": bert["num_attention_heads"],
        "mlp_size": bert["intermediate_size"],
        "vocab_size": bert["vocab_size"],
        "num_positions": bert["max_position_embeddings"],
        "feature_size": facts["feature_dim"],
        "max_video_len": facts["max_video_len"],
        "max_len": facts["max_len"],
        "pad_id": facts["pad_token_id"],
        "cls_id": facts["cls_token_id"],
        "sep_id": facts["sep_token_id"],
        "mask_id": facts["mask_token_id"],
    }


def vlm(case: Any, kind: str = "vlm") -> tuple[VLM, dict[str, Any]]:
    """Returns the model and parameters of a golden case; `kind` names the model."""
    params = convert.parameters("vlm", published_weights(case, kind)).params()
    num_classes = len(params["classifier"]["bias"]) if "classifier" in params else 0
    return VLM(VLMConfig(**model_config(case), num_classes=num_classes)), params


def videoclip(case: Any) -> tuple[VideoCLIP, dict[str, Any]]:
    """Returns the model and parameters of VideoCLIP's golden case."""
    params = convert.parameters("videoclip", published_weights(case, "videoclip")).params()
    num_video_layers = meta(case)["num_hidden_video_layers"]
    return VideoCLIP(
        VideoCLIPConfig(**model_config(case), num_video_layers=num_video_layers)
    ), params


def published_weights(case: Any, kind: str) -> dict[str, np.ndarray]:
    """Returns the file's weights if it has all of them, otherwise those of the rule."""
    facts = meta(case)
    tag, shapes = f"{facts['tag']}/{kind}", published_shapes(facts, kind)
    inside = {k.removeprefix("param/"): case[k] for k in case.files if k.startswith("param/")}
    if any(name.endswith("word_embeddings.weight") for name in inside):
        return inside
    if kind == "seg":
        classes = case["logits"].shape[-1]
        hidden = facts["bert"]["hidden_size"]
        shapes |= {
            f"mm_encoder.classifier.{name}": (classes, *rest)
            for name, rest in {"weight": (hidden,), "bias": ()}.items()
        }
    weights = {name: weight(tag, name, shape) for name, shape in shapes.items()}
    if kind in ("vlm", "nlg"):  # the decoder is tied to the words, and its numbers were made last
        weights[WORDS] = weight(tag, "mm_encoder.cls.predictions.decoder.weight", shapes[WORDS])
    return weights | inside


def batch(case: Any, prefix: str = "") -> dict[str, jnp.ndarray]:
    """Makes our batch from published inputs, whose text begins with `[CLS] [SEP]`."""
    return {
        "video": jnp.asarray(case[prefix + "vfeats"]),
        "video_mask": jnp.asarray(case[prefix + "vmasks"]),
        "text": jnp.asarray(case[prefix + "caps"][:, 2:], jnp.int32),
        "text_mask": jnp.asarray(case[prefix + "cmasks"][:, 2:]),
    }


def masked(case: Any, input_text: np.ndarray, prefix: str = "") -> Masked:
    """Returns the masks of a golden case, whose model saw `input_text` [B, 2 + T]."""
    return Masked(
        jnp.asarray(input_text[:, 2:], jnp.int32),
        jnp.asarray(case[prefix + "text_label"][:, 2:] != -100),
        jnp.asarray(case[prefix + "video_label"]),
    )


def get(tree: dict[str, Any], published_name: str) -> np.ndarray | None:
    """Returns a parameter or gradient in its published shape; None if our model has none."""
    path = convert.path_of(published_name)
    if path is None:
        return None
    value: Any = functools.reduce(lambda node, key: node[key], path.split("/"), tree)
    return np.asarray(value.T if path.endswith("/kernel") else value)
