"""Text-video retrieval: contrastive fine-tuning with isolated layers, separate evaluation."""

import dataclasses
from typing import Literal

from jax import Array

from vtmask import attention, losses
from vtmask.errors import check_choice
from vtmask.models import AnyModel
from vtmask.tasks import separate


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """The retrieval task of VLM (section 4.1).

    Attributes:
      isolated_layers: the first layers in which modalities don't see each other; embeddings are
        taken after the last of them, or after the last layer when there is none. None trains and
        evaluates each modality in a call of its own; see `vtmask.tasks.separate`.
      direction: which side queries the other in the loss, "t2v", "v2t" or, as VideoCLIP pre-trains,
        "both": the sum of these losses (VideoCLIP, section 3.2, equation 1).
      negatives: "global", the others of the whole batch, or "device", of the device's part of it:
        fewer, so that the loss depends on the number of devices, but nothing is exchanged.
    """

    isolated_layers: int | None
    direction: Literal["t2v", "v2t", "both"] = "t2v"
    negatives: losses.Negatives = "global"

    def __post_init__(self) -> None:
        check_choice("config.task.direction", self.direction, ("t2v", "v2t", "both"))
        check_choice("config.task.negatives", self.negatives, losses.NEGATIVES)

    def loss(
        self, model: AnyModel, batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The contrastive loss of a batch's pairs. Needs an rng "dropout"; `key` is not used."""
        del key
        video, text = self.embed_pairs(model, batch, deterministic=False)
        t2v = losses.contrastive(text, video, self.negatives)
        v2t = losses.contrastive(video, text, self.negatives)
        if self.direction == "both":
            return t2v + v2t, {"t2v_loss": t2v, "v2t_loss": v2t}
        return (t2v if self.direction == "t2v" else v2t), {}

    def embed_pairs(
        self, model: AnyModel, batch: dict[str, Array], deterministic: bool
    ) -> tuple[Array, Array]:
        """Pooled video and text [B, H] as in training: one call on the whole sequence where layers
        are isolated, else one for each modality."""
        video, video_mask = batch["video"], batch["video_mask"]
        text, text_mask = batch["text"], batch["text_mask"]
        if self.isolated_layers is None:
            return (
                self.embed_video(model, video, video_mask, deterministic),
                self.embed_text(model, text, text_mask, deterministic),
            )
        num_layers = separate.layers_to_run(model, self.isolated_layers)
        embedded = model.embed(model.video_tokens(video), text, deterministic)
        mask = attention.isolated_layers(
            video_mask, text_mask, self.isolated_layers, model.config.num_layers
        )
        hidden = model.encode(embedded, mask, deterministic, num_layers)
        start = video.shape[1] + 2
        return (
            separate.pool_video(hidden[:, 1:start], video_mask),
            separate.pool_text(hidden[:, start:], text_mask),
        )

    def embed_video(
        self, model: AnyModel, video: Array, video_mask: Array, deterministic: bool = True
    ) -> Array:
        """Pooled videos from a call of their own, as in evaluation: [B, V, size] -> [B, H]."""
        return separate.embed_video(model, video, video_mask, self.isolated_layers, deterministic)

    def embed_text(
        self, model: AnyModel, text: Array, text_mask: Array, deterministic: bool = True
    ) -> Array:
        """Pooled texts from a call of their own, as in evaluation: [B, T] -> [B, H]."""
        return separate.embed_text(model, text, text_mask, self.isolated_layers, deterministic)
