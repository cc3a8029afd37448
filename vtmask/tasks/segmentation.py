"""Action segmentation: classifies every frame by a linear layer on its hidden state."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import optax
from jax import Array

from vtmask.models import VLM, AnyModel
from vtmask.tasks.base import Batch, Metrics, Task
from vtmask.tasks.encoding import Encoding, Isolated, Separate


@dataclasses.dataclass(frozen=True)
class Segmentation(Task):
    """The action segmentation task of VLM (section 4.1, COIN).

    Its batches are windows of videos with `labels`, the class of each frame: int32 [B, V].
    """

    needs_vlm: ClassVar[bool] = True

    def loss(self, model: VLM, batch: Batch, key: Array) -> tuple[Array, Metrics]:
        """Computes the mean cross-entropy of valid frames, and their accuracy.

        Needs an rng "dropout"; `key` is not used.
        """
        del key
        labels, valid = batch["labels"], batch["video_mask"]
        scores = self.scores(model, batch["video"], valid, deterministic=False)
        losses = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
        right = (scores.argmax(axis=-1) == labels).astype(jnp.float32)
        return losses.mean(where=valid), {"frame_accuracy": right.mean(where=valid)}

    def scores(
        self, model: VLM, video: Array, video_mask: Array, deterministic: bool = True
    ) -> Array:
        """Scores the classes for every frame: [B, V, feature_size] -> [B, V, num_classes].

        All layers are isolated, so the video runs alone (as published: `num_iso_layer: 12`).
        """
        encoding = Isolated(model.config.num_layers)
        return model.classify(encoding.encode_video(model, video, video_mask, deterministic).frames)


@dataclasses.dataclass(frozen=True)
class TextLabels:
    """Zero-shot segmentation: compares frames with the names of the classes.

    A frame is background unless its best score is above the largest score between the names of two
    different classes (zero-shot COIN of the published code).
    """

    encoding: Encoding = Separate()

    def scores(self, model: AnyModel, video: Array, video_mask: Array, names: Array) -> Array:
        """Scores the names for every frame: [B, V, feature_size], [C, H] -> [B, V, C].

        Args:
          names: pooled names of the classes, without background.
        """
        frames = self.encoding.encode_frames(model, video, video_mask)
        return jnp.einsum("bvh,ch->bvc", frames, names)


def classes_by_names(scores: Array, names: Array) -> Array:
    """Chooses classes of frames from scores of the names [..., C] and their embeddings [C, H].

    Returns:
      int32 [...]: 0 is the background, 1 + i the class of name i.
    """
    between = names @ names.T
    different = ~jnp.eye(len(names), dtype=bool)
    threshold = jnp.max(between, where=different, initial=-jnp.inf)
    best = scores.argmax(axis=-1) + 1
    return jnp.where(scores.max(axis=-1) > threshold, best, 0)
