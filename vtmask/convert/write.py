"""Converts exports to PyTorch files that the published code loads."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from vtmask import disk, export
from vtmask.convert.arrays import reordered
from vtmask.convert.names import TASK, Kind, our_path, published_name
from vtmask.convert.read import INSTALL
from vtmask.errors import UserError, reason
from vtmask.export import AnyExport, Model

_SEGMENT_ROWS = 256  # in the published `seg_embeddings`
_BERTS = {"vlm": ["mm_encoder.bert."], "videoclip": ["video_encoder.bert.", "text_encoder."]}


def to_published(folder: Path, out: Path) -> None:
    """Converts an export to a PyTorch file with the parameters of `published_weights`.

    Raises:
      UserError: PyTorch is not installed, the folder holds no complete export, or the file can't be
        written. An older file is then left unchanged.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{out}: PyTorch is not installed; {INSTALL}") from error
    if out.is_dir():
        raise UserError(f"{out}: is a folder, expected the name of a file")
    model = export.load_any(folder)
    unused = export.load_unused(folder) if "published_names" in model.config else None
    try:
        arrays = published_weights(model, unused)
    except KeyError as error:
        raise UserError(
            f"{folder}: lacks the parameter {error} of the weights it was converted from"
        ) from error
    # Tied parameters are one array, so the PyTorch file holds one storage for them.
    tensors = {id(array): torch.from_numpy(np.array(array, order="C")) for array in arrays.values()}
    content: Any = {name: tensors[id(array)] for name, array in arrays.items()}
    if isinstance(model, Model):
        content = {"model": content}
    unfinished = disk.unfinished(out)
    try:
        with unfinished.open("wb") as file:
            torch.save(content, file)
        os.replace(unfinished, out)
    except (OSError, RuntimeError) as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"{out}: can't be written ({reason(error)})") from error


def published_weights(
    model: AnyExport, unused: Mapping[str, np.ndarray] | None
) -> dict[str, np.ndarray]:
    """Returns the parameters of an export by published name, with axes in the published order.

    Args:
      unused: the content of a converted model's unused.npz; the result is then bit-identical to
        what was converted, if that was float32. None for a model trained here, which gets all
        parameters that the published code expects; those that feed no output are zero.

    Returns:
      Arrays by name; tied parameters are one array.

    Raises:
      KeyError: a parameter that the model was made from is missing.
    """
    kind: Any = type(model.module).__name__.lower()
    params = traverse_util.flatten_dict(model.params, sep="/")
    arrays = {path: reordered(path, np.asarray(value)) for path, value in params.items()}
    if unused is None:
        unused = _fresh_unused(kind, model.module.config)
        names = [*_names_of_trained(kind, arrays), *unused]
    else:
        names = model.config["published_names"]
    for path in arrays.keys() & unused.keys():  # rows without a token
        arrays[path] = np.concatenate([arrays[path], unused[path]])
    arrays = {**unused, **arrays}
    return {name: arrays[our_path(kind, name) or name] for name in names}


def _names_of_trained(kind: Kind, used: Mapping[str, np.ndarray]) -> list[str]:
    """Returns the names of all parameters, tied ones included, except a decoder bias of zeros."""
    names = [published_name(kind, path) for path in used if path != "decoder_bias"]
    if kind == "vlm":
        tied = ["decoder.weight"]
        if used["decoder_bias"].any():
            tied += ["bias", "decoder.bias"]
        names += [f"{TASK}mm_encoder.cls.predictions.{name}" for name in tied]
    return names


def _fresh_unused(kind: Kind, config: Any) -> dict[str, np.ndarray]:
    """Makes the parameters that a published model has but that feed no output."""
    unused: dict[str, np.ndarray] = {}
    hidden = config.hidden_size
    for bert in _BERTS[kind]:
        root = TASK + bert
        unused[f"{root}embeddings.position_ids"] = np.arange(config.num_positions)[None]
        if kind == "vlm":
            table = np.zeros((_SEGMENT_ROWS, hidden), np.float32)
            unused[f"{root}embeddings.seg_embeddings.weight"] = table
        unused[f"{root}pooler.dense.weight"] = np.zeros((hidden, hidden), np.float32)
        unused[f"{root}pooler.dense.bias"] = np.zeros(hidden, np.float32)
    return unused
