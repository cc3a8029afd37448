"""Attention masks: which positions attend to which.

Masks are for a sequence `[CLS] video [SEP] text [SEP]`; see `vtmask.sequence`. They are boolean and
broadcast to [batch, layers, queries, keys]; True is open. Unless a function says otherwise, only
keys are closed: padded positions query like others, as in the published model.
"""

import jax.numpy as jnp
from jax import Array

from vtmask import sequence


def padding(video_mask: Array, text_mask: Array) -> Array:
    """Opens every valid position to all: [B, 1, 1, L] from [B, V] and [B, T]."""
    return keys(sequence.valid(video_mask, text_mask))


def keys(valid: Array) -> Array:
    """Opens these keys to all queries: [B, L] -> [B, 1, 1, L]."""
    return valid[:, None, None, :]


def isolated(video_mask: Array, text_mask: Array) -> Array:
    """Video attends to video, text to text, [CLS] to itself: [B, 1, L, L] (VLM, section 3.3)."""
    modality = sequence.modality(video_mask.shape[1], text_mask.shape[1])
    same = modality[:, None] == modality[None, :]
    return same[None, None] & padding(video_mask, text_mask)


def isolated_layers(
    video_mask: Array, text_mask: Array, num_isolated: int, num_layers: int
) -> Array:
    """Isolates the first `num_isolated` layers; the others only close padding.

    Returns:
      [B, num_layers, L, L].
    """
    apart = isolated(video_mask, text_mask)
    together = jnp.broadcast_to(padding(video_mask, text_mask), apart.shape)
    return jnp.concatenate(
        [apart] * num_isolated + [together] * (num_layers - num_isolated), axis=1
    )


def text_generation(video_mask: Array, text_mask: Array) -> Array:
    """Text is causal and attends to the video; nothing else attends to text: [B, 1, L, L]."""
    return _generation(video_mask, text_mask, sequence.TEXT)


def video_generation(video_mask: Array, text_mask: Array) -> Array:
    """Video, its [SEP] included, is causal and attends to the text; nothing else attends to video:
    [B, 1, L, L]."""
    return _generation(video_mask, text_mask, sequence.VIDEO)


def _generation(video_mask: Array, text_mask: Array, generated: int) -> Array:
    valid = sequence.valid(video_mask, text_mask)
    inside = sequence.modality(video_mask.shape[1], text_mask.shape[1]) == generated
    position = jnp.arange(len(inside))
    causal = position[None, :] <= position[:, None]
    generated_queries = (valid & inside)[:, :, None]
    generated_keys = (valid & inside)[:, None, :]
    given_keys = (valid & ~inside)[:, None, :]
    return (given_keys | (generated_queries & generated_keys & causal))[:, None]
