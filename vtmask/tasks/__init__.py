"""Tasks, one file each: what a model call, a mask and a loss make of a batch."""

from ml_collections import ConfigDict

from vtmask.errors import UserError
from vtmask.masking import MaskingScheme
from vtmask.tasks.pretrain import Pretrain
from vtmask.tasks.retrieval import Retrieval


def create(task: ConfigDict) -> Pretrain | Retrieval:
    """The task a recipe names, with the recipe's settings."""
    settings = task.to_dict()
    name = settings.pop("name")
    if name == "pretrain":
        return Pretrain(MaskingScheme(**settings.pop("masking")), **settings)
    if name == "retrieval":
        return Retrieval(**settings)
    raise UserError(f"config.task.name is {name!r}, expected 'pretrain' or 'retrieval'")
