"""Multiple-choice question answering: chooses the text that describes a video."""

import dataclasses

import jax.numpy as jnp
from jax import Array

from vtmask.models import AnyModel
from vtmask.tasks.base import Batch, Metrics
from vtmask.tasks.encoding import Comparison
from vtmask.tasks.retrieval import Retrieval


@dataclasses.dataclass(frozen=True)
class QuestionAnswering(Comparison):
    """The multiple-choice task of VLM (section 4.1, MSR-VTT), trained as V2T retrieval.

    Attributes:
      num_answers: answers per question; five in MSR-VTT.
    """

    num_answers: int = 5

    def loss(self, model: AnyModel, batch: Batch, key: Array) -> tuple[Array, Metrics]:
        """Computes the V2T loss of a batch's pairs. Needs an rng "dropout"; `key` is not used."""
        return Retrieval(self.isolated_layers, "v2t").loss(model, batch, key)

    def scores(
        self, model: AnyModel, video: Array, video_mask: Array, answers: Array, answers_mask: Array
    ) -> Array:
        """Scores each video's answers: [B, V, feature_size], [B, A, T] -> [B, A]."""
        videos = self.encoding.embed_video(model, video, video_mask)
        length = answers.shape[-1]
        texts = self.encoding.embed_text(
            model, answers.reshape(-1, length), answers_mask.reshape(-1, length)
        )
        return jnp.einsum("bh,bah->ba", videos, texts.reshape(*answers.shape[:2], -1))
