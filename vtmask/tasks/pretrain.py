"""Pre-training: masked modalities, scored jointly (MTM) or apart (MFM+MLM)."""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from jax import Array

from vtmask import attention, losses, masking
from vtmask.errors import check_choice
from vtmask.models.vlm import VLM


@dataclasses.dataclass(frozen=True)
class Pretrain:
    """The pre-training task of VLM (section 3.2).

    Attributes:
      objective: "mtm", one softmax over words and frames, or "mfm_mlm", one each.
    """

    scheme: masking.MaskingScheme = masking.MaskingScheme()
    objective: Literal["mtm", "mfm_mlm"] = "mtm"

    def __post_init__(self) -> None:
        check_choice("config.task.objective", self.objective, ("mtm", "mfm_mlm"))

    def loss(
        self, model: VLM, batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Masks the batch with `key`; returns the loss and its parts. Needs an rng "dropout"."""
        masked = masking.mask(key, batch, self.scheme, model.sizes)
        return self.masked_loss(model, batch, masked, deterministic=False)

    def masked_loss(
        self, model: VLM, batch: dict[str, Array], masked: masking.Masked, deterministic: bool
    ) -> tuple[Array, dict[str, Array]]:
        """The loss of a batch whose masks are given."""
        arguments = self.score_arguments(model, batch, masked, deterministic)
        arguments |= {"text": batch["text"], "text_masked": masked.text_masked}
        arguments |= {"video_masked": masked.video_masked, "vocabulary": model.vocabulary()}
        if self.objective == "mtm":
            return losses.masked_token_model(**arguments)
        return losses.masked_frame_and_language_model(
            **arguments, vocabulary_bias=model.vocabulary_bias()
        )

    def score_arguments(
        self, model: VLM, batch: dict[str, Array], masked: masking.Masked, deterministic: bool
    ) -> dict[str, Array]:
        """What masked positions are scored with: `video_hidden` [B, V, H] and `text_hidden`
        [B, T, H] from the head, `video_tokens` [B, V, H] and which are `negatives` [B, V]."""
        video_tokens = model.video_tokens(batch["video"])
        visible = jnp.where(
            masked.video_masked[..., None], model.masked_video_token(), video_tokens
        )
        embedded = model.embed(visible, masked.text, deterministic)
        mask = attention.padding(batch["video_mask"], batch["text_mask"])
        hidden = model.head(model.encode(embedded, mask, deterministic)[-1])
        num_frames = video_tokens.shape[1]
        return {
            "video_hidden": hidden[:, 1 : num_frames + 1],
            "text_hidden": hidden[:, num_frames + 2 :],
            "video_tokens": video_tokens,
            "negatives": batch["video_mask"] & ~masked.video_masked,
        }
