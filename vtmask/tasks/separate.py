"""Each modality through the encoder alone: embeddings of videos and of texts, in calls apart.

`isolated_layers` says for which form the model was trained. A number is that of isolated layers:
frames and text are encoded as these layers let them see each other, frames not seeing [CLS] either,
and states are taken after the last of them, or after the last layer when there is none (VLM,
section 3.3; `MMFusionJoint` in evaluation). None is the form of pre-training, where each sees its
[CLS] (`MMFusionShare` of the published code), for models that were not fine-tuned so, and the only
one of VideoCLIP (`MMFusionSeparate`).
"""

import jax.numpy as jnp
from jax import Array

from vtmask import attention
from vtmask.errors import UserError
from vtmask.models import VLM, AnyModel


def encode_video(
    model: AnyModel,
    video: Array,
    video_mask: Array,
    isolated_layers: int | None,
    deterministic: bool = True,
) -> Array:
    """Hidden states of frames and the video's [SEP]: [B, V, size], [B, V] -> [B, V + 1, H]."""
    if isolated_layers is None:
        return model.encode_video(video, video_mask, deterministic)[:, 1:]
    num_layers = layers_to_run(model, isolated_layers)
    no_text = jnp.zeros((len(video), 0), jnp.int32)
    embedded = model.embed(model.video_tokens(video), no_text, deterministic)
    mask = attention.isolated(video_mask, no_text.astype(bool))
    return model.encode(embedded, mask, deterministic, num_layers)[:, 1:]


def encode_text(
    model: AnyModel,
    text: Array,
    text_mask: Array,
    isolated_layers: int | None,
    deterministic: bool = True,
) -> Array:
    """Hidden states of texts: [B, T], [B, T] -> [B, T, H]."""
    if isolated_layers is None:
        return model.encode_text(text, text_mask, deterministic)[:, 1:]
    num_layers = layers_to_run(model, isolated_layers)
    no_video = jnp.zeros((len(text), 0, model.config.hidden_size))
    embedded = model.embed(no_video, text, deterministic)[:, 2:]
    return model.encode(embedded, text_mask[:, None, None, :], deterministic, num_layers)


def encode_frames(
    model: AnyModel,
    video: Array,
    video_mask: Array,
    isolated_layers: int | None,
    deterministic: bool = True,
) -> Array:
    """Hidden states of frames alone, float32: [B, V, size], [B, V] -> [B, V, H]."""
    hidden = encode_video(model, video, video_mask, isolated_layers, deterministic)
    return hidden[:, :-1].astype(jnp.float32)


def embed_video(
    model: AnyModel,
    video: Array,
    video_mask: Array,
    isolated_layers: int | None,
    deterministic: bool = True,
) -> Array:
    """Pooled videos, float32: [B, V, size], [B, V] -> [B, H]."""
    hidden = encode_video(model, video, video_mask, isolated_layers, deterministic)
    return pool_video(hidden, video_mask)


def embed_text(
    model: AnyModel,
    text: Array,
    text_mask: Array,
    isolated_layers: int | None,
    deterministic: bool = True,
) -> Array:
    """Pooled texts, float32: [B, T], [B, T] -> [B, H]."""
    hidden = encode_text(model, text, text_mask, isolated_layers, deterministic)
    return pool_text(hidden, text_mask)


def pool_video(hidden: Array, video_mask: Array) -> Array:
    """Mean over valid frames and the video's [SEP]: [B, V + 1, H], [B, V] -> [B, H]."""
    return _masked_mean(hidden, jnp.pad(video_mask, ((0, 0), (0, 1)), constant_values=True))


def pool_text(hidden: Array, text_mask: Array) -> Array:
    """Mean over valid text and its [SEP]: [B, T, H], [B, T] -> [B, H]."""
    return _masked_mean(hidden, text_mask)


def layers_to_run(model: AnyModel, isolated_layers: int) -> int:
    """Layers up to the one whose states are taken; UserError where the model has fewer, or two
    encoders."""
    if not isinstance(model, VLM):
        raise UserError(
            f"config.task.isolated_layers is {isolated_layers}, expected None: VideoCLIP's "
            "modalities have an encoder each"
        )
    if not 0 <= isolated_layers <= model.config.num_layers:
        raise UserError(
            f"config.task.isolated_layers is {isolated_layers}, but the model has "
            f"{model.config.num_layers} layers"
        )
    return isolated_layers or model.config.num_layers


def _masked_mean(hidden: Array, mask: Array) -> Array:
    weights = mask / mask.sum(axis=1, keepdims=True)
    return jnp.einsum("blh,bl->bh", hidden.astype(jnp.float32), weights)
