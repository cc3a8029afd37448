"""Forms of encoding: ways to run the model in tasks that compare videos with texts.

`Separate` is the form of pre-training and of VideoCLIP. Each modality runs alone, with its own
[CLS] (`MMFusionShare` and `MMFusionSeparate` of the published code).

`Isolated` is the form of a fine-tuned VLM (section 3.3; `MMFusionJoint`). In training one joint
forward pass encodes both modalities, and in its isolated layers they don't attend to each other. In
evaluation each modality runs alone.

A model works best in the form it was trained for.
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
from jax import Array

from vtmask import attention, sequence
from vtmask.errors import UserError
from vtmask.models import AnyModel
from vtmask.tasks.base import Batch, Task, require_vlm


class Encoding:
    """A form of encoding. Subclasses define how hidden states are computed."""

    def encode_video(
        self, model: AnyModel, video: Array, video_mask: Array, deterministic: bool = True
    ) -> sequence.Parts:
        """Encodes videos alone: [B, V, feature_size], [B, V] -> hidden states.

        Returns:
          parts, of which `frames` [B, V, H] and `separator` [B, 1, H] are used.
        """
        raise NotImplementedError

    def encode_text(
        self, model: AnyModel, text: Array, text_mask: Array, deterministic: bool = True
    ) -> Array:
        """Encodes texts alone: [B, T], [B, T] -> hidden states [B, T, H]."""
        raise NotImplementedError

    def embed_pairs(
        self, model: AnyModel, batch: Batch, deterministic: bool
    ) -> tuple[Array, Array]:
        """Encodes a batch as in training and pools its videos and texts: float32 [B, H] each."""
        return (
            self.embed_video(model, batch["video"], batch["video_mask"], deterministic),
            self.embed_text(model, batch["text"], batch["text_mask"], deterministic),
        )

    def embed_video(
        self, model: AnyModel, video: Array, video_mask: Array, deterministic: bool = True
    ) -> Array:
        """Encodes videos alone and pools them: [B, V, feature_size], [B, V] -> float32 [B, H]."""
        return pool_video(self.encode_video(model, video, video_mask, deterministic), video_mask)

    def embed_text(
        self, model: AnyModel, text: Array, text_mask: Array, deterministic: bool = True
    ) -> Array:
        """Encodes texts alone and pools them: [B, T], [B, T] -> float32 [B, H]."""
        return pool_text(self.encode_text(model, text, text_mask, deterministic), text_mask)

    def encode_frames(
        self, model: AnyModel, video: Array, video_mask: Array, deterministic: bool = True
    ) -> Array:
        """Encodes the frames of videos: [B, V, feature_size], [B, V] -> float32 [B, V, H]."""
        parts = self.encode_video(model, video, video_mask, deterministic)
        return parts.frames.astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Separate(Encoding):
    """Each modality runs alone in training and evaluation, and attends to its own [CLS]."""

    def encode_video(
        self, model: AnyModel, video: Array, video_mask: Array, deterministic: bool = True
    ) -> sequence.Parts:
        hidden = model.encode_video(video, video_mask, deterministic)
        return sequence.split(hidden, video.shape[1])

    def encode_text(
        self, model: AnyModel, text: Array, text_mask: Array, deterministic: bool = True
    ) -> Array:
        return sequence.split_text(model.encode_text(text, text_mask, deterministic))[1]


@dataclasses.dataclass(frozen=True)
class Isolated(Encoding):
    """Modalities don't attend to each other, nor to [CLS], in the first layers.

    Attributes:
      num_layers: number of isolated layers. Hidden states are taken after the last of them, or
        after the model's last layer if there are none.
    """

    num_layers: int

    def encode_video(
        self, model: Any, video: Array, video_mask: Array, deterministic: bool = True
    ) -> sequence.Parts:
        num_layers = self._layers_to_run(model)
        no_text = jnp.zeros((len(video), 0), jnp.int32)
        embedded = model.embed(model.video_tokens(video), no_text, deterministic)
        mask = attention.isolated(video_mask, no_text.astype(bool))
        hidden = model.encode(embedded, mask, deterministic, num_layers)
        return sequence.split(hidden, video.shape[1])

    def encode_text(
        self, model: Any, text: Array, text_mask: Array, deterministic: bool = True
    ) -> Array:
        num_layers = self._layers_to_run(model)
        no_video = jnp.zeros((len(text), 0, model.config.hidden_size))
        embedded = sequence.split(model.embed(no_video, text, deterministic), num_frames=0).text
        return model.encode(embedded, attention.keys(text_mask), deterministic, num_layers)

    def embed_pairs(self, model: Any, batch: Batch, deterministic: bool) -> tuple[Array, Array]:
        num_layers = self._layers_to_run(model)
        video_mask, text_mask = batch["video_mask"], batch["text_mask"]
        embedded = model.embed(model.video_tokens(batch["video"]), batch["text"], deterministic)
        mask = attention.isolated_layers(
            video_mask, text_mask, self.num_layers, model.config.num_layers
        )
        hidden = model.encode(embedded, mask, deterministic, num_layers)
        parts = sequence.split(hidden, video_mask.shape[1])
        return pool_video(parts, video_mask), pool_text(parts.text, text_mask)

    def _layers_to_run(self, model: Any) -> int:
        """Returns the number of layers up to the one whose hidden states are used.

        Raises:
          UserError: the model has fewer layers, or is a VideoCLIP.
        """
        field = f"config.task.isolated_layers is {self.num_layers}"
        advice = "set it to None, as each modality has an encoder"
        require_vlm(type(model.config), field, advice)
        if not 0 <= self.num_layers <= model.config.num_layers:
            raise UserError(f"{field}, but the model has {model.config.num_layers} layers")
        return self.num_layers or model.config.num_layers


def create(isolated_layers: int | None) -> Encoding:
    """Creates the form that a recipe's `isolated_layers` names: None is `Separate`."""
    return Separate() if isolated_layers is None else Isolated(isolated_layers)


@dataclasses.dataclass(frozen=True)
class Comparison(Task):
    """A task that compares videos with texts.

    Attributes:
      isolated_layers: number of isolated layers, the first ones, in the form `Isolated`; None for
        `Separate`.
    """

    isolated_layers: int | None

    @functools.cached_property
    def encoding(self) -> Encoding:
        return create(self.isolated_layers)


def pool_video(parts: sequence.Parts, video_mask: Array) -> Array:
    """Averages valid frames and the video's [SEP]: float32 [B, H].

    Args:
      parts: hidden states, `frames` [B, V, H] and `separator` [B, 1, H].
      video_mask: bool [B, V].
    """
    states = jnp.concatenate([parts.frames, parts.separator], axis=1)
    return _masked_mean(states, jnp.pad(video_mask, ((0, 0), (0, 1)), constant_values=True))


def pool_text(hidden: Array, text_mask: Array) -> Array:
    """Averages valid text and its [SEP]: [B, T, H], [B, T] -> float32 [B, H]."""
    return _masked_mean(hidden, text_mask)


def _masked_mean(hidden: Array, mask: Array) -> Array:
    weights = mask / mask.sum(axis=1, keepdims=True)
    return jnp.einsum("blh,bl->bh", hidden.astype(jnp.float32), weights)
