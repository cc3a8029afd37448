"""Text-video retrieval: contrastive fine-tuning with isolated layers."""

import dataclasses
from typing import Literal

from jax import Array

from vtmask import losses
from vtmask.errors import check_choice
from vtmask.models import AnyModel
from vtmask.tasks.base import Batch, Metrics
from vtmask.tasks.encoding import Comparison


@dataclasses.dataclass(frozen=True)
class Retrieval(Comparison):
    """The retrieval task of VLM (section 4.1).

    Attributes:
      direction: "t2v", in which texts query videos, "v2t" or "both". The loss of "both" is the sum
        of the two, as in VideoCLIP's pre-training (VideoCLIP, section 3.2, equation 1).
      negatives: "global" takes all others of the batch, "device" those in the device's part of it.
        "device" gives fewer negatives, so the loss depends on the number of devices, but needs no
        communication.
    """

    direction: Literal["t2v", "v2t", "both"] = "t2v"
    negatives: losses.Negatives = "global"

    def __post_init__(self) -> None:
        check_choice("config.task.direction", self.direction, ("t2v", "v2t", "both"))
        check_choice("config.task.negatives", self.negatives, losses.NEGATIVES)

    def loss(self, model: AnyModel, batch: Batch, key: Array) -> tuple[Array, Metrics]:
        """Computes the contrastive loss of pairs. Needs an rng "dropout"; `key` is not used."""
        del key
        video, text = self.encoding.embed_pairs(model, batch, deterministic=False)
        t2v = losses.contrastive(text, video, self.negatives)
        v2t = losses.contrastive(video, text, self.negatives)
        if self.direction == "both":
            return t2v + v2t, {"t2v_loss": t2v, "v2t_loss": v2t}
        return (t2v if self.direction == "t2v" else v2t), {}
