"""Moment retrieval: which stretch of a video a sentence is about."""

import dataclasses

from jax import Array

from vtmask.models import AnyModel
from vtmask.tasks import separate
from vtmask.tasks.retrieval import Retrieval


@dataclasses.dataclass(frozen=True)
class MomentRetrieval:
    """The moment retrieval task of MMPT (DiDeMo), zero-shot there; trained as T2V retrieval.

    Frames of a whole video are encoded together; a moment's embedding is the mean of its frames.
    `vtmask.evaluation.moments` ranks them.

    Attributes:
      isolated_layers: as in `vtmask.tasks.separate`.
    """

    isolated_layers: int | None = None

    @property
    def retrieval(self) -> Retrieval:
        return Retrieval(self.isolated_layers, "t2v")

    def loss(
        self, model: AnyModel, batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The T2V loss of a batch's pairs. Needs an rng "dropout"; `key` is not used."""
        return self.retrieval.loss(model, batch, key)

    def encode_frames(self, model: AnyModel, video: Array, video_mask: Array) -> Array:
        """Hidden states of frames, float32: [B, V, size] -> [B, V, H]."""
        return separate.encode_frames(model, video, video_mask, self.isolated_layers)

    def embed_text(self, model: AnyModel, text: Array, text_mask: Array) -> Array:
        """Pooled sentences: [B, T] -> [B, H]."""
        return self.retrieval.embed_text(model, text, text_mask)
