"""Multiple-choice question answering: which of the given texts tells what a video shows?"""

import dataclasses

import jax.numpy as jnp
from jax import Array

from vtmask.models import AnyModel
from vtmask.tasks.retrieval import Retrieval


@dataclasses.dataclass(frozen=True)
class QuestionAnswering:
    """The multiple-choice task of VLM (section 4.1, MSR-VTT): trained as V2T retrieval.

    Attributes:
      isolated_layers: as in `vtmask.tasks.retrieval.Retrieval`.
      num_answers: a question has; MSR-VTT's have five.
    """

    isolated_layers: int | None
    num_answers: int = 5

    @property
    def retrieval(self) -> Retrieval:
        return Retrieval(self.isolated_layers, "v2t")

    def loss(
        self, model: AnyModel, batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The V2T loss of a batch's pairs. Needs an rng "dropout"; `key` is not used."""
        return self.retrieval.loss(model, batch, key)

    def scores(
        self, model: AnyModel, video: Array, video_mask: Array, answers: Array, answers_mask: Array
    ) -> Array:
        """Scores of each video's answers: [B, V, size], [B, A, T] -> [B, A]."""
        videos = self.retrieval.embed_video(model, video, video_mask)
        length = answers.shape[-1]
        texts = self.retrieval.embed_text(
            model, answers.reshape(-1, length), answers_mask.reshape(-1, length)
        )
        return jnp.einsum("bh,bah->ba", videos, texts.reshape(*answers.shape[:2], -1))
