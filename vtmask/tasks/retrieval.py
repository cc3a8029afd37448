"""Text-video retrieval: contrastive fine-tuning with isolated layers, separate evaluation."""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from jax import Array

from vtmask import attention, losses
from vtmask.errors import UserError, check_choice
from vtmask.models.vlm import VLM


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """The retrieval task of VLM (section 4.1).

    Attributes:
      isolated_layers: the first layers in which modalities don't see each other; embeddings are
        taken after the last of them, or after the last layer when there is none.
      direction: which side queries the other in the loss, "t2v" or "v2t".
    """

    isolated_layers: int
    direction: Literal["t2v", "v2t"] = "t2v"

    def __post_init__(self) -> None:
        check_choice("config.task.direction", self.direction, ("t2v", "v2t"))

    def loss(
        self, model: VLM, batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The contrastive loss of a joint forward. Needs an rng "dropout"; `key` is not used."""
        del key
        video, text = self.embed_jointly(model, batch, deterministic=False)
        pair = (text, video) if self.direction == "t2v" else (video, text)
        return losses.contrastive(*pair), {}

    def embed_jointly(
        self, model: VLM, batch: dict[str, Array], deterministic: bool
    ) -> tuple[Array, Array]:
        """Pooled video and text [B, H] from one call on the whole sequence, as in training."""
        embedded = self._embed(model, batch, deterministic)
        mask = attention.isolated_layers(
            batch["video_mask"], batch["text_mask"], self.isolated_layers, model.sizes.num_layers
        )
        hidden = model.encode(embedded, mask, deterministic)[self._layer]
        start = batch["video"].shape[1] + 2
        return _pool_video(hidden[:, :start], batch), _pool_text(hidden[:, start:], batch)

    def embed(self, model: VLM, batch: dict[str, Array]) -> tuple[Array, Array]:
        """Pooled video and text [B, H] from a call each, as in evaluation.

        The modalities are apart in every layer, and frames don't see [CLS] either.
        """
        mask = attention.isolated(batch["video_mask"], batch["text_mask"])
        embedded = self._embed(model, batch, deterministic=True)
        start = batch["video"].shape[1] + 2
        video = model.encode(embedded[:, :start], mask[..., :start, :start])[self._layer]
        text = model.encode(embedded[:, start:], mask[..., start:, start:])[self._layer]
        return _pool_video(video, batch), _pool_text(text, batch)

    @property
    def _layer(self) -> int:
        return self.isolated_layers or -1

    def _embed(self, model: VLM, batch: dict[str, Array], deterministic: bool) -> Array:
        if not 0 <= self.isolated_layers <= model.sizes.num_layers:
            raise UserError(
                f"config.task.isolated_layers is {self.isolated_layers}, but the model has "
                f"{model.sizes.num_layers} layers"
            )
        return model.embed(model.video_tokens(batch["video"]), batch["text"], deterministic)


def _pool_video(hidden: Array, batch: dict[str, Array]) -> Array:
    """Mean over valid frames and the video's [SEP], without [CLS]: [B, V + 2, H] -> [B, H]."""
    mask = jnp.pad(batch["video_mask"], ((0, 0), (0, 1)), constant_values=True)
    return _masked_mean(hidden[:, 1:], mask)


def _pool_text(hidden: Array, batch: dict[str, Array]) -> Array:
    """Mean over valid text and its [SEP]: [B, T, H] -> [B, H]."""
    return _masked_mean(hidden, batch["text_mask"])


def _masked_mean(hidden: Array, mask: Array) -> Array:
    weights = mask / mask.sum(axis=1, keepdims=True)
    return jnp.einsum("blh,bl->bh", hidden.astype(jnp.float32), weights)
