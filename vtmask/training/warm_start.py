"""Initial parameters of training: those of an exported model, and fresh ones for the rest."""

import dataclasses
import functools
from typing import Any

import jax
from flax import traverse_util

from vtmask import compatibility, export, models
from vtmask.errors import UserError
from vtmask.export import BertModel, Data, Model, S3DModel
from vtmask.models import AnyModel, VideoCLIPConfig, VLMConfig, initial_params
from vtmask.training.step import Params


def start_params(
    model: AnyModel, seed: int, init_from: str, data: Data, class_names: tuple[str, ...]
) -> Params:
    """Returns parameters for `model`: those of an export, and fresh ones for the rest.

    Args:
      init_from: folder of the export; "" makes all parameters fresh.
      data: the training data.
      class_names: of the model's classifier. The export's classifier is used only if its names are
        the same.

    Raises:
      UserError: the export does not fit the model or the data.
    """
    params = exported_params(init_from, model.config, data, class_names) if init_from else {}
    return jax.device_get(completed(params, model, seed))


def exported_params(
    folder: str, config: VLMConfig, data: Data, class_names: tuple[str, ...]
) -> Params:
    """Returns the parameters of an export that a model of this configuration can use.

    A BERT has all parameters of a VLM except those of the video MLP. In a VideoCLIP, as published,
    it initialises the text encoder and, with its first layers, the video encoder.
    """
    start = export.load_any(folder)
    if isinstance(start, S3DModel):
        raise UserError(f"{folder}/model.json: is an S3D, expected a BERT, VLM or VideoCLIP")
    start.require_same_inputs(data)
    if isinstance(start, Model) and type(start.module.config) is not type(config):
        exported, trained = type(start.module).__name__, type(models.create(config)).__name__
        raise UserError(
            f"{folder}/model.json: is a {exported}, but the config's model is a {trained}; start "
            f"from a {trained} or from a BERT"
        )
    _require_same_config(folder, start.module.config, config)
    if isinstance(start, BertModel) and isinstance(config, VideoCLIPConfig):
        return videoclip_from_bert(folder, start.params, config)
    if isinstance(start, BertModel) or start.class_names == class_names:
        return start.params
    return {name: value for name, value in start.params.items() if name != "classifier"}


def _require_same_config(folder: str, exported: Any, config: VLMConfig) -> None:
    """Raises a UserError if fields differ; names each of them, and the flags to set."""
    theirs, ours = dataclasses.asdict(exported), dataclasses.asdict(config)
    differing = [
        name
        for name in ours
        if name in theirs.keys() - compatibility.WHEN_FINE_TUNED and theirs[name] != ours[name]
    ]
    if differing:
        differences = ", ".join(
            f"{name} is {theirs[name]}, the config says {ours[name]}" for name in differing
        )
        flags = " ".join(f"--config.model.{name}={theirs[name]}" for name in differing)
        raise UserError(f"{folder}/model.json: {differences}; set {flags}")


def videoclip_from_bert(folder: str, bert: Params, config: VideoCLIPConfig) -> Params:
    """Makes both encoders of a VideoCLIP from a BERT, without the video MLP."""
    if config.num_video_layers > config.num_layers:
        raise UserError(
            f"{folder}/model.json: has {config.num_layers} layers, too few for "
            f"config.model.num_video_layers {config.num_video_layers}"
        )
    text = {name: value for name, value in bert.items() if name not in ("head", "decoder_bias")}
    layers = {f"layer_{i}": text["encoder"][f"layer_{i}"] for i in range(config.num_video_layers)}
    return {"text": text, "video": text | {"encoder": layers}}


def completed(params: Params, model: AnyModel, seed: int) -> Params:
    """Adds fresh parameters for those that the model has and `params` lacks."""
    given = traverse_util.flatten_dict(params)
    expected = jax.eval_shape(functools.partial(initial_params, model), seed)
    if traverse_util.flatten_dict(expected).keys() <= given.keys():
        return params
    fresh = traverse_util.flatten_dict(initial_params(model, seed))
    return traverse_util.unflatten_dict(fresh | given)
