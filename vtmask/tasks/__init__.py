"""Tasks, one file each: a model call, its attention mask, a loss and a prediction."""

from typing import Any

from ml_collections import ConfigDict

from vtmask import settings
from vtmask.errors import check_choice
from vtmask.masking import MaskingScheme
from vtmask.models import VLMConfig
from vtmask.tasks.base import Task, require_vlm
from vtmask.tasks.captioning import Captioning
from vtmask.tasks.localization import StepLocalization
from vtmask.tasks.moments import MomentRetrieval
from vtmask.tasks.pretrain import Pretrain
from vtmask.tasks.question_answering import QuestionAnswering
from vtmask.tasks.retrieval import Retrieval
from vtmask.tasks.segmentation import Segmentation

TASKS: dict[str, type[Task]] = {
    "pretrain": Pretrain,
    "retrieval": Retrieval,
    "question_answering": QuestionAnswering,
    "captioning": Captioning,
    "step_localization": StepLocalization,
    "segmentation": Segmentation,
    "moment_retrieval": MomentRetrieval,
    "corpus_moment_retrieval": MomentRetrieval,  # the same, in all videos at once
}


def create(task: ConfigDict) -> Any:
    """Creates the task that a recipe's `config.task` names, with its settings.

    Raises:
      UserError: there is no such task, or a setting is unknown, missing or out of range.
    """
    values = task.to_dict()
    name = values.pop("name")
    check_choice("config.task.name", name, TASKS)
    if name == "pretrain" and "masking" in values:
        values["scheme"] = settings.create(
            MaskingScheme, values.pop("masking"), "config.task.masking", "masking"
        )
    return settings.create(TASKS[name], values, "config.task", name)


def require_model_for(name: str, kind: type[VLMConfig]) -> None:
    """Raises a UserError if a model with this kind of configuration cannot do the task."""
    if TASKS[name].needs_vlm:
        require_vlm(kind, f"config.task.name is {name}")
