"""Models on disk: parameters and all that is needed to use them, in one folder.

params/          Orbax checkpoint
model.json       model ("vlm" or "videoclip") and its sizes, name and rate of the features, file and
                 hash of the tokenizer, the config, names of the classifier's classes
tokenizer.model  SentencePiece model, or vocab.txt, a WordPiece vocabulary
"""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, Protocol

import jax
import orbax.checkpoint as ocp

from vtmask import models, tokenizers
from vtmask.errors import UserError, reason
from vtmask.models import AnyModel
from vtmask.tokenizers import Tokenizer


class Data(Protocol):
    """What a model has to know of data; see `vtmask.inputs.dataset.Dataset`."""

    path: Path
    tokenizer: Tokenizer
    feature_extractor: str
    feature_size: int
    seconds_per_feature: float


@dataclasses.dataclass(frozen=True)
class Model:
    """A model with its parameters.

    Attributes:
      module: the Flax module; `module.sizes` has its sizes.
      params: its parameters, a pytree.
      tokenizer: what text goes through.
      feature_extractor: name of what video goes through.
      seconds_per_feature: how much of a video a feature is of.
      config: of the training run that made it.
      class_names: of its classifier's outputs; () where it has none.
    """

    module: AnyModel
    params: Any
    tokenizer: Tokenizer
    feature_extractor: str
    seconds_per_feature: float
    config: dict[str, Any]
    class_names: tuple[str, ...] = ()

    def require_same_inputs(self, data: Data) -> None:
        """UserError unless the data's features and tokens were made as those of training."""
        if data.feature_extractor != self.feature_extractor:
            raise UserError(
                f"{data.path}: its features are from {data.feature_extractor!r}, the model was "
                f"trained on {self.feature_extractor!r}; extract them again with the model's "
                "extractor"
            )
        if data.feature_size != self.module.sizes.feature_size:
            raise UserError(
                f"{data.path}: its features are {data.feature_size} numbers wide, the model was "
                f"trained on {self.module.sizes.feature_size}; build the data set from features "
                "of the model's width"
            )
        if data.seconds_per_feature != self.seconds_per_feature:
            raise UserError(
                f"{data.path}: its features are {data.seconds_per_feature} s each, the model was "
                f"trained on {self.seconds_per_feature} s; build the data set from features at "
                "the model's rate"
            )
        if data.tokenizer.sha256 != self.tokenizer.sha256:
            raise UserError(
                f"{data.path}: its captions were tokenised with another tokenizer (sha256 "
                f"{data.tokenizer.sha256[:12]}…) than the model's ({self.tokenizer.sha256[:12]}…); "
                f"build the data set again with the model's {self.tokenizer.file_name}"
            )


def save(folder: str | Path, model: Model) -> None:
    """Writes a model; an older one there is replaced when the new one is complete."""
    folder = Path(folder).absolute()
    unfinished = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(unfinished / "params", model.params)
        model.tokenizer.save(unfinished)
        card = {
            "model": type(model.module).__name__.lower(),
            "sizes": dataclasses.asdict(model.module.sizes),
            "feature_extractor": model.feature_extractor,
            "seconds_per_feature": model.seconds_per_feature,
            "tokenizer": model.tokenizer.file_name,
            "tokenizer_sha256": model.tokenizer.sha256,
            "config": model.config,
            "class_names": model.class_names,
        }
        (unfinished / "model.json").write_text(json.dumps(card, indent=2))
    except (OSError, ValueError) as error:
        raise UserError(f"{unfinished}: model can't be written ({reason(error)})") from error
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def load(folder: str | Path) -> Model:
    """Reads a model on any device; a UserError where the folder holds none."""
    folder = Path(folder).absolute()
    try:
        card = json.loads((folder / "model.json").read_text())
    except FileNotFoundError:
        raise UserError(
            f"{folder}: no model.json, so no exported model; training writes one to WORKDIR/export"
        ) from None
    except ValueError:
        raise UserError(f"{folder}/model.json: is damaged; export the model again") from None
    features = ("feature_extractor", "seconds_per_feature")
    for field in (
        "model",
        "sizes",
        *features,
        "tokenizer",
        "tokenizer_sha256",
        "config",
        "class_names",
    ):
        if field not in card:
            raise UserError(f"{folder}/model.json: has no {field}; export the model again")
    tokenizer = tokenizers.load(folder / card["tokenizer"])
    if tokenizer.sha256 != card["tokenizer_sha256"]:
        raise UserError(
            f"{folder / card['tokenizer']}: is not the one this model was trained with; "
            "export the model again"
        )
    module = models.create(models.SIZES[card["model"]](**card["sizes"]))
    return Model(
        module,
        _read_params(folder / "params"),
        tokenizer,
        card["feature_extractor"],
        card["seconds_per_feature"],
        card["config"],
        tuple(card["class_names"]),
    )


def _read_params(folder: Path) -> Any:
    """Parameters on this process's first device, wherever they were saved from."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with ocp.StandardCheckpointer() as checkpointer:
        try:
            saved = checkpointer.metadata(folder).item_metadata
            like = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
                saved.tree if saved else None,
            )
            return checkpointer.restore(folder, like)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder}: can't be read; export the model again") from error
