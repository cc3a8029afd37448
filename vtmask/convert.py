"""Published weights to our parameters."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

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
