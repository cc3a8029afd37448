"""Tasks, one file each: what a model call, a mask and a loss make of a batch."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vtmask.errors import UserError, check_choice
from vtmask.masking import MaskingScheme
from vtmask.tasks.captioning import Captioning
from vtmask.tasks.localization import StepLocalization
from vtmask.tasks.moments import MomentRetrieval
from vtmask.tasks.pretrain import Pretrain
from vtmask.tasks.question_answering import QuestionAnswering
from vtmask.tasks.retrieval import Retrieval
from vtmask.tasks.segmentation import Segmentation

TASKS: dict[str, Any] = {
    "pretrain": Pretrain,
    "retrieval": Retrieval,
    "question_answering": QuestionAnswering,
    "captioning": Captioning,
    "step_localization": StepLocalization,
    "segmentation": Segmentation,
    "moment_retrieval": MomentRetrieval,
    "corpus_moment_retrieval": MomentRetrieval,  # the same, of all videos at once
}


def create(task: ConfigDict) -> Any:
    """The task a recipe names, with the recipe's settings; UserError where there is none."""
    settings = task.to_dict()
    name = settings.pop("name")
    check_choice("config.task.name", name, TASKS)
    if name == "pretrain" and "masking" in settings:
        masking = settings.pop("masking")
        settings["scheme"] = _create("config.task.masking", "masking", MaskingScheme, masking)
    return _create("config.task", name, TASKS[name], settings)


def needs_vlm(name: str) -> UserError:
    """What to raise where a VideoCLIP is to do a task that it has no part for."""
    return UserError(f"config.task.name is {name}, which VideoCLIP cannot do; use a VLM")


def require_head(params: Mapping[str, Any]) -> None:
    """UserError where a VLM can't write: published models for other tasks come without a head."""
    if "head" not in params:
        raise UserError(
            "the model has no prediction head, which writes captions; fine-tune it for captioning"
        )


def _create(where: str, name: str, kind: Any, settings: dict[str, Any]) -> Any:
    """A dataclass with these settings; UserError where one is unknown or missing."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for setting in settings.keys() - fields.keys():
        raise UserError(f"{where}.{setting}: {name} takes {', '.join(fields) or 'no settings'}")
    for field in fields.values():
        if field.default is dataclasses.MISSING and field.name not in settings:
            raise UserError(f"{where}.{field.name} is missing; {name} needs it")
    return kind(**settings)
