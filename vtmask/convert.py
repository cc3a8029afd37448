"""Published weights to our parameters."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from vtmask.errors import UserError
from vtmask.models.s3d import MAX_WORDS, S3D

_LAYER = r"bert\.encoder\.layer\.(\d+)\."
_RENAMES = [
    (r"videomlp\.linear1\.", "video_mlp/in/"),
    (r"videomlp\.LayerNorm\.", "video_mlp/norm/"),
    (r"videomlp\.linear2\.", "video_mlp/out/"),
    (r"bert\.embeddings\.word_embeddings\.", "words/"),
    (r"bert\.embeddings\.position_embeddings\.", "positions/"),
    (r"bert\.embeddings\.token_type_embeddings\.", "segments/"),
    (r"bert\.embeddings\.LayerNorm\.", "embedding_norm/"),
    (_LAYER + r"attention\.self\.(query|key|value)\.", r"encoder/layer_\1/attention/\2/"),
    (_LAYER + r"attention\.output\.dense\.", r"encoder/layer_\1/attention/output/"),
    (_LAYER + r"attention\.output\.LayerNorm\.", r"encoder/layer_\1/attention_norm/"),
    (_LAYER + r"intermediate\.dense\.", r"encoder/layer_\1/mlp_in/"),
    (_LAYER + r"output\.dense\.", r"encoder/layer_\1/mlp_out/"),
    (_LAYER + r"output\.LayerNorm\.", r"encoder/layer_\1/mlp_norm/"),
    (r"cls\.predictions\.transform\.dense\.", "head/dense/"),
    (r"cls\.predictions\.transform\.LayerNorm\.", "head/norm/"),
    (r"classifier\.", "classifier/"),
]
_TABLES = ("words", "positions", "segments")
_PREFIX = "mm_encoder."
_DECODER_BIAS = "cls.predictions.bias"


def published_name(name: str) -> str | None:
    """Our path of a published VLM parameter, None where no output of the model uses it.

    The published decoder is the word embeddings once more; the pooler and `seg_embeddings` are
    there but feed nothing.
    """
    name = name.removeprefix(_PREFIX)
    if name == _DECODER_BIAS:
        return "decoder_bias"
    for pattern, replacement in _RENAMES:
        path, found = re.subn("^" + pattern, replacement, name)
        if found:
            parent, _, leaf = path.rpartition("/")
            if leaf == "bias":
                return path
            if parent.endswith("norm"):
                return f"{parent}/scale"
            return f"{parent}/embedding" if parent in _TABLES else f"{parent}/kernel"
    return None


def vlm_from_published(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Parameters of `VLM` from published ones; dense weights [out, in] become kernels [in, out]."""
    words = weights[_PREFIX + "bert.embeddings.word_embeddings.weight"]
    parameters = {"decoder_bias": np.zeros(len(words), np.float32)}
    for name, value in weights.items():
        path = published_name(name)
        if path is not None:
            parameters[path] = value.T if path.endswith("/kernel") else value
    return traverse_util.unflatten_dict(parameters, sep="/")


_S3D_RENAMES = {"running_mean": "mean", "running_var": "var"}


def s3d_from_published(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Parameters of `vtmask.models.s3d.S3D` from those of `s3d_howto100m.pth`.

    Kernels [out, in, time, height, width] become [time, height, width, in, out]. Counters of
    training batches are left out, as nothing uses them.

    Raises:
      UserError: a parameter is missing, unknown or of another shape than S3D's; its name is told.
    """
    parameters = {}
    for name, value in weights.items():
        *modules, kind = name.split(".")
        if kind == "num_batches_tracked":
            continue
        tower = ["video"]
        if modules[:1] == ["text_module"]:
            tower, modules = ["text"], modules[1:]
        layer = modules.pop() if modules else ""
        if layer.startswith("bn"):
            layer = layer.replace("bn", "conv")  # a `ConvNorm` is both
            kind = {"weight": "scale"}.get(kind, kind)
        elif kind == "weight" and layer == "word_embd":
            kind = "embedding"
        elif kind == "weight":
            kind = "kernel"
            value = value.transpose(2, 3, 4, 1, 0) if value.ndim == 5 else value.T
        path = [*tower, *modules, layer, _S3D_RENAMES.get(kind, kind)]
        parameters["/".join(path)] = value
    _require_shapes(parameters, _s3d_shapes(parameters))
    return traverse_util.unflatten_dict(parameters, sep="/")


def _s3d_shapes(parameters: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Of a model with as many words as the parameters have."""
    words = parameters.get("text/word_embd/embedding")
    model = S3D() if words is None else S3D(len(words))
    frames = jax.ShapeDtypeStruct((1, 16, 32, 32, 3), np.uint8)
    text = jax.ShapeDtypeStruct((1, MAX_WORDS), np.int32)
    initial = jax.eval_shape(model.init, jax.random.key(0), frames, text)["params"]
    flat = traverse_util.flatten_dict(initial, sep="/")
    return {name: leaf.shape for name, leaf in flat.items()}


def _require_shapes(
    found: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """UserError unless all parameters are there, in their shapes, and no others."""
    wrong = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    wrong += [f"{name} is unknown" for name in sorted(found.keys() - expected.keys())]
    wrong += [
        f"{name} is {found[name].shape}, expected {expected[name]}"
        for name in sorted(expected.keys() & found.keys())
        if found[name].shape != expected[name]
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UserError(f"parameters do not fit the model: {'; '.join(wrong[:5])}{more}")
