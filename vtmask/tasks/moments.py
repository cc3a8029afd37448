"""Moment retrieval: finds the part of a video that a sentence describes."""

import dataclasses

from jax import Array

from vtmask.models import AnyModel
from vtmask.tasks.base import Batch, Metrics
from vtmask.tasks.encoding import Comparison
from vtmask.tasks.retrieval import Retrieval


@dataclasses.dataclass(frozen=True)
class MomentRetrieval(Comparison):
    """The moment retrieval task of MMPT (DiDeMo), zero-shot there; trained as T2V retrieval.

    All frames of a video are encoded together. The embedding of a moment is the mean of its
    frames; `vtmask.evaluation.moments` ranks moments.
    """

    isolated_layers: int | None = None

    def loss(self, model: AnyModel, batch: Batch, key: Array) -> tuple[Array, Metrics]:
        """Computes the T2V loss of a batch's pairs. Needs an rng "dropout"; `key` is not used."""
        return Retrieval(self.isolated_layers, "t2v").loss(model, batch, key)
