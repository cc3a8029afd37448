"""Reads published files as data: parameters by name, and the config of a Hugging Face folder."""

import dataclasses
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vtmask import files
from vtmask.errors import UserError, reason
from vtmask.files import pytorch
from vtmask.models.layers import LAYER_NORM_EPSILON, EncoderConfig

INSTALL = "pip install -e '.[convert]'"
_SAFETENSORS = ".safetensors"
_WEIGHT_FILES = (f"model{_SAFETENSORS}", "pytorch_model.bin")
_SIZES = {  # field of Hugging Face's config.json → ours
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "intermediate_size": "mlp_size",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "num_positions",
}
_SUPPORTED = {  # values in config.json that our BERT computes
    "model_type": "bert",
    "hidden_act": "gelu",
    "layer_norm_eps": LAYER_NORM_EPSILON,
    "position_embedding_type": "absolute",
    "is_decoder": False,
}
_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")  # DistributedDataParallel, torch.compile


class Weights(NamedTuple):
    """Parameters by name, and the wrappers around them.

    Attributes:
      arrays: published name → parameter.
      wrappers: the key and the prefixes that were stripped, such as `state_dict` and `module.`.
    """

    arrays: dict[str, np.ndarray]
    wrappers: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class HuggingFaceFolder:
    """A BERT as `save_pretrained` of transformers writes it.

    Attributes:
      path: the folder.
      weights: the file in it with the parameters.
      num_heads: attention heads.
      sizes: the sizes in config.json, by its names.
    """

    path: Path
    weights: Path
    num_heads: int
    sizes: dict[str, int]

    def require_sizes(self, config: EncoderConfig) -> None:
        """Raises a UserError unless the sizes in config.json are those of the parameters."""
        for field, stated in self.sizes.items():
            if (size := getattr(config, _SIZES[field])) != stated:
                raise UserError(
                    f"{self.weights}: {_SIZES[field]} is {size}, but {field} in config.json is "
                    f"{stated}"
                )


def weights(path: Path) -> Weights:
    """Reads the parameters in a .safetensors file or a file of `torch.save`.

    Raises:
      UserError: the file can't be read, is damaged or holds something else.
    """
    content = _read_safetensors(path) if is_safetensors(path) else pytorch.load(path)
    try:
        return _unwrapped(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def is_safetensors(path: Path) -> bool:
    """Whether the file is a .safetensors file, which holds tied parameters under one name only."""
    return path.suffix == _SAFETENSORS


def state_dict(content: Any) -> dict[str, np.ndarray]:
    """Returns the parameters by name in a file's content.

    They may be under "model", as fairseq writes them, or "state_dict". The prefixes `module.` and
    `_orig_mod.` are stripped from their names.

    Raises:
      UserError: the content holds something else.
    """
    return _unwrapped(content).arrays


def _unwrapped(content: Any) -> Weights:
    wrappers = []
    if isinstance(content, dict):
        if isinstance(content.get("model"), dict):
            content = content["model"]
        elif isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]
            wrappers.append("state_dict")
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(name, str) for name in content)
        or not all(isinstance(value, np.ndarray) for value in content.values())
    ):
        raise UserError("holds more than parameters")
    prefixes = {match[0]: None for name in content if (match := _WRAPPERS.match(name))}
    arrays = {_WRAPPERS.sub("", name): value for name, value in content.items()}
    if len(arrays) < len(content):
        raise UserError(
            f"holds parameters with and without {' and '.join(prefixes)}; remove one kind"
        )
    return Weights(arrays, (*wrappers, *prefixes))


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise UserError(f"{path}: safetensors is not installed; {INSTALL}") from error
    try:
        return load_file(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    except (SafetensorError, AttributeError, TypeError) as error:  # the last two: unknown dtypes
        raise UserError(f"{path}: is damaged or of another format: {reason(error)}") from error


def huggingface_folder(folder: Path) -> HuggingFaceFolder:
    """Reads a Hugging Face folder's config and finds its weights.

    Raises:
      UserError: a file is missing or damaged, or config.json is of a model that can't be converted.
    """
    weight_files = [folder / name for name in _WEIGHT_FILES if (folder / name).exists()]
    if not weight_files:
        raise UserError(
            f"{folder}: is neither a Hugging Face BERT ({' or '.join(_WEIGHT_FILES)} is missing) "
            "nor an exported model (model.json is missing)"
        )
    path = folder / "config.json"
    config = files.read_json(path)
    num_heads = files.field(config, "num_attention_heads", int, str(path))
    sizes = {name: files.field(config, name, int, str(path)) for name in _SIZES if name in config}
    for field, value in _SUPPORTED.items():
        if config.get(field, value) != value:
            raise UserError(
                f"{path}: {field} is {config[field]!r}, only {value!r} can be converted"
            )
    return HuggingFaceFolder(folder, weight_files[0], num_heads, sizes)
