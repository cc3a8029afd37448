"""Exported models: parameters and everything needed to use them, in one folder or bucket.

params/          Orbax checkpoint
model.json       model ("vlm" or "videoclip") and its sizes, name and rate of the features, file and
                 hash of the tokenizer, the config, names of the classifier's classes
tokenizer.model  SentencePiece model, or vocab.txt or tokenizer.json, of WordPiece
unused.npz       only if `vtmask convert` made the export: the published parameters that affect no
                 output, by their published names, for converting back

Converted weights can also be a "bert", which takes no video and so has no fields of features, or an
"s3d", which has no tokenizer either.
"""

import contextlib
import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from vtmask import disk, models, tokenizers
from vtmask.errors import UserError, check_choice, reason
from vtmask.models import AnyModel
from vtmask.models.layers import EncoderConfig
from vtmask.models.s3d import S3D
from vtmask.models.transformer import Bert
from vtmask.tokenizers import Tokenizer

_COMMON = ("model", "sizes", "config")
_OF_TEXT = ("tokenizer", "tokenizer_sha256")
_OF_VIDEO = ("feature_extractor", "seconds_per_feature", "class_names")
_FIELDS = {
    **{kind: (*_COMMON, *_OF_TEXT, *_OF_VIDEO) for kind in models.CONFIGS},
    "bert": (*_COMMON, *_OF_TEXT),
    "s3d": _COMMON,
}
_UNUSED = "unused.npz"


class Data(Protocol):
    """The part of a data set that a model checks; see `vtmask.inputs.dataset.Dataset`."""

    path: Path
    tokenizer: Tokenizer
    feature_extractor: str
    feature_size: int
    seconds_per_feature: float


@dataclasses.dataclass(frozen=True)
class Model:
    """A model with its parameters.

    Attributes:
      module: the Flax module; `module.config` has its sizes.
      params: its parameters, a pytree.
      tokenizer: of its texts.
      feature_extractor: name of the extractor of its features.
      seconds_per_feature: seconds of video that one feature covers.
      config: of the training run that made it.
      class_names: of the classifier's outputs; () if there is no classifier.
    """

    module: AnyModel
    params: Any
    tokenizer: Tokenizer
    feature_extractor: str
    seconds_per_feature: float
    config: dict[str, Any]
    class_names: tuple[str, ...] = ()

    def require_same_inputs(self, data: Data) -> None:
        """Raises a UserError unless features and tokens are of the same kind as in training."""
        if data.feature_extractor != self.feature_extractor:
            raise UserError(
                f"{data.path}: its features are from {data.feature_extractor!r}, the model was "
                f"trained on {self.feature_extractor!r}; extract them again with the model's "
                "extractor"
            )
        if data.feature_size != self.module.config.feature_size:
            raise UserError(
                f"{data.path}: its features are {data.feature_size} numbers wide, the model was "
                f"trained on {self.module.config.feature_size}; build the data set from features "
                "of the model's width"
            )
        if data.seconds_per_feature != self.seconds_per_feature:
            raise UserError(
                f"{data.path}: its features are {data.seconds_per_feature} s each, the model was "
                f"trained on {self.seconds_per_feature} s; build the data set from features at "
                "the model's rate"
            )
        _require_same_tokenizer(self.tokenizer, data)


@dataclasses.dataclass(frozen=True)
class BertModel:
    """A BERT with its parameters, which training can start from; see `Model`.

    `params` may also have the `head` and the `decoder_bias` of `vtmask.models.VLM`.
    """

    module: Bert
    params: Any
    tokenizer: Tokenizer
    config: dict[str, Any]

    def require_same_inputs(self, data: Data) -> None:
        """Raises a UserError unless the data has the model's tokenizer."""
        _require_same_tokenizer(self.tokenizer, data)


@dataclasses.dataclass(frozen=True)
class S3DModel:
    """An S3D with its parameters, which makes features; see `Model`."""

    module: S3D
    params: Any
    config: dict[str, Any]


AnyExport = Model | BertModel | S3DModel


def _require_same_tokenizer(tokenizer: Tokenizer, data: Data) -> None:
    if data.tokenizer.sha256 != tokenizer.sha256:
        raise UserError(
            f"{data.path}: its captions were tokenised with another tokenizer (sha256 "
            f"{data.tokenizer.sha256[:12]}…) than the model's ({tokenizer.sha256[:12]}…); "
            f"build the data set again with the model's {tokenizer.file_name}"
        )


def save(
    folder: disk.AnyPath, model: AnyExport, unused: Mapping[str, np.ndarray] | None = None
) -> None:
    """Writes a model. It replaces an older one in the folder only once it is complete.

    Folders in a bucket can't be renamed. There, the older model is deleted first, and the new one
    becomes loadable with its model.json, which is written last. If several processes train, only
    one of them calls this.

    Args:
      unused: content of unused.npz, if any.

    Raises:
      UserError: the model can't be written.
    """
    place = disk.resolve(folder)
    renamed = not disk.in_bucket(place)
    unfinished = disk.unfinished(place) if renamed else place
    this = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(this, {this}, "export")
    try:
        (unfinished / "model.json").unlink(missing_ok=True)
        unfinished.rmtree(missing_ok=True)
        with ocp.StandardCheckpointer(multiprocessing_options=alone) as checkpointer:
            checkpointer.save(unfinished / "params", model.params)
        if not isinstance(model, S3DModel):
            model.tokenizer.save(unfinished)
        if unused is not None:
            content = io.BytesIO()
            np.savez(content, **unused)  # type: ignore[arg-type]
            (unfinished / _UNUSED).write_bytes(content.getvalue())
        (unfinished / "model.json").write_text(json.dumps(_card(model), indent=2))
    except disk.errors(ValueError) as error:
        with contextlib.suppress(*disk.errors()):
            unfinished.rmtree(missing_ok=True)
        raise UserError(f"{place}: model can't be written ({reason(error)})") from error
    if renamed:
        place.rmtree(missing_ok=True)
        unfinished.rename(place)


def _card(model: AnyExport) -> dict[str, Any]:
    """Makes the content of model.json."""
    card: dict[str, Any] = {"model": type(model.module).__name__.lower()}
    if isinstance(model, S3DModel):
        return card | {"sizes": {"vocab_size": model.module.vocab_size}, "config": model.config}
    card["sizes"] = dataclasses.asdict(model.module.config)
    if isinstance(model, Model):
        card["feature_extractor"] = model.feature_extractor
        card["seconds_per_feature"] = model.seconds_per_feature
    card["tokenizer"] = model.tokenizer.file_name
    card["tokenizer_sha256"] = model.tokenizer.sha256
    card["config"] = model.config
    if isinstance(model, Model):
        card["class_names"] = model.class_names
    return card


def load(folder: disk.AnyPath) -> Model:
    """Reads a VLM or a VideoCLIP; its parameters are placed on this process's first device.

    Raises:
      UserError: the folder holds no such model, or a damaged one.
    """
    model = load_any(folder)
    if not isinstance(model, Model):
        raise UserError(
            f"{folder}/model.json: model is {type(model.module).__name__.lower()!r}, expected one "
            f"of video and text, {' or '.join(map(repr, models.CONFIGS))}"
        )
    return model


def load_any(folder: disk.AnyPath) -> AnyExport:
    """Reads an export of any kind; otherwise like `load`."""
    place = disk.resolve(folder)
    try:
        card = json.loads((place / "model.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        what = "no model.json, so no exported model" if place.is_dir() else "no such folder"
        raise UserError(
            f"{place}: {what}; training writes a model to WORKDIR/export, `vtmask convert` makes "
            "one of published weights"
        ) from None
    except ValueError:
        raise UserError(f"{place}/model.json: is damaged; export the model again") from None
    except disk.errors() as error:
        raise UserError(f"{place}/model.json: can't be read ({reason(error)})") from error
    if not isinstance(card, dict):
        raise UserError(f"{place}/model.json: is damaged; export the model again")
    kind: Any = card.get("model")
    for field in _FIELDS.get(kind, _COMMON):
        if field not in card:
            raise UserError(f"{place}/model.json: has no {field}; export the model again")
    check_choice(f"{place}/model.json: model", kind, _FIELDS)
    config_of: Any = {**models.CONFIGS, "bert": EncoderConfig, "s3d": S3D}[kind]
    try:
        model_config = config_of(**card["sizes"])
    except TypeError as error:
        raise UserError(f"{place}/model.json: sizes: {error}; export the model again") from error
    if kind == "s3d":
        return S3DModel(model_config, _read_params(place / "params"), card["config"])
    tokenizer = tokenizers.load(place / card["tokenizer"])
    if tokenizer.sha256 != card["tokenizer_sha256"]:
        raise UserError(
            f"{place / card['tokenizer']}: is not the one this model was trained with; "
            "export the model again"
        )
    if kind == "bert":
        return BertModel(
            Bert(model_config), _read_params(place / "params"), tokenizer, card["config"]
        )
    return Model(
        models.create(model_config),
        _read_params(place / "params"),
        tokenizer,
        card["feature_extractor"],
        card["seconds_per_feature"],
        card["config"],
        tuple(card["class_names"]),
    )


def load_unused(folder: disk.AnyPath) -> dict[str, np.ndarray]:
    """Reads unused.npz: published name → parameter, or {} if the export has none.

    Raises:
      UserError: the file is damaged.
    """
    path = disk.resolve(folder) / _UNUSED
    try:
        with np.load(io.BytesIO(path.read_bytes())) as archive:
            return dict(archive)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: is damaged; convert the model again") from error


def _read_params(folder: epath.Path) -> Any:
    """Reads parameters onto this process's first device, whatever devices saved them."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with ocp.StandardCheckpointer() as checkpointer:
        try:
            saved = checkpointer.metadata(folder).item_metadata
            like = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
                saved.tree if saved else None,
            )
            return checkpointer.restore(folder, like)
        except disk.errors(ValueError, KeyError) as error:
            raise UserError(f"{folder}: can't be read; export the model again") from error
