"""Action segmentation: a class for every frame, from a linear classifier on its hidden state."""

import dataclasses

import jax.numpy as jnp
import optax
from jax import Array

from vtmask.models import VLM, AnyModel
from vtmask.tasks import separate


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The action segmentation task of VLM (section 4.1, COIN).

    Its batches are windows of videos with `labels`, the class of each frame: int32 [B, V].
    """

    def loss(
        self, model: VLM, batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Mean cross-entropy of valid frames, and their accuracy. Needs an rng "dropout"."""
        del key
        labels, valid = batch["labels"], batch["video_mask"]
        scores = self.scores(model, batch["video"], valid, deterministic=False)
        losses = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
        right = (scores.argmax(axis=-1) == labels).astype(jnp.float32)
        return losses.mean(where=valid), {"frame_accuracy": right.mean(where=valid)}

    def scores(
        self, model: VLM, video: Array, video_mask: Array, deterministic: bool = True
    ) -> Array:
        """Scores of the classes for every frame: [B, V, size] -> [B, V, num_classes].

        The video runs alone, as all layers isolated have it (as published: `num_iso_layer: 12`).
        """
        layers = model.config.num_layers
        hidden = separate.encode_video(model, video, video_mask, layers, deterministic)
        return model.classify(hidden[:, :-1])


@dataclasses.dataclass(frozen=True)
class TextLabels:
    """Zero-shot segmentation: frames against the names of the classes.

    A frame is of the background unless its best score is above the largest score between the names
    of two different classes (zero-shot COIN of the published code).

    Attributes:
      isolated_layers: as in `vtmask.tasks.separate`.
    """

    isolated_layers: int | None = None

    def embed_names(self, model: AnyModel, text: Array, text_mask: Array) -> Array:
        """Pooled names of the classes but the background: [C, T] -> [C, H]."""
        return separate.embed_text(model, text, text_mask, self.isolated_layers)

    def scores(self, model: AnyModel, video: Array, video_mask: Array, names: Array) -> Array:
        """Scores of the names for every frame: [B, V, size], [C, H] -> [B, V, C]."""
        frames = separate.encode_frames(model, video, video_mask, self.isolated_layers)
        return jnp.einsum("bvh,ch->bvc", frames, names)


def classes_by_names(scores: Array, names: Array) -> Array:
    """Classes of frames from scores of the names [..., C] and the embeddings [C, H] of these.

    Returns:
      int32 [...]: 0 is the background, 1 + i the class of name i.
    """
    between = names @ names.T
    different = ~jnp.eye(len(names), dtype=bool)
    threshold = jnp.max(between, where=different, initial=-jnp.inf)
    best = scores.argmax(axis=-1) + 1
    return jnp.where(scores.max(axis=-1) > threshold, best, 0)
