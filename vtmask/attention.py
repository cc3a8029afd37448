"""Who may look at whom.

A sequence is `[CLS] video… [SEP] text…`: position 0, then V frames, the video's [SEP], then T text
tokens of which the last valid one is a [SEP]; L = V + T + 2. Masks are boolean and broadcast to
[batch, layers, queries, keys]; True is open. Unless said otherwise only keys are closed: padded
positions query like others, as in the published model.
"""

import jax.numpy as jnp
from jax import Array


def padding(video_mask: Array, text_mask: Array) -> Array:
    """Every valid position is open to all: [B, 1, 1, L] from [B, V] and [B, T]."""
    return jnp.concatenate([_video_keys(video_mask), text_mask], axis=1)[:, None, None, :]


def isolated(video_mask: Array, text_mask: Array) -> Array:
    """Video sees video, text sees text, [CLS] sees itself: [B, 1, L, L] (VLM, section 3.3)."""
    same = _modality(video_mask, text_mask)
    same = same[:, None] == same[None, :]
    return same[None, None] & padding(video_mask, text_mask)


def isolated_layers(
    video_mask: Array, text_mask: Array, num_isolated: int, num_layers: int
) -> Array:
    """The first `num_isolated` layers isolated, the others padded only: [B, num_layers, L, L]."""
    apart = isolated(video_mask, text_mask)
    together = jnp.broadcast_to(padding(video_mask, text_mask), apart.shape)
    return jnp.concatenate(
        [apart] * num_isolated + [together] * (num_layers - num_isolated), axis=1
    )


def text_generation(video_mask: Array, text_mask: Array) -> Array:
    """Text is causal and sees the video; nothing else sees text: [B, 1, L, L]."""
    return _generation(video_mask, text_mask, generated=2)


def video_generation(video_mask: Array, text_mask: Array) -> Array:
    """Video, its [SEP] included, is causal and sees the text; nothing else sees video."""
    return _generation(video_mask, text_mask, generated=1)


def _generation(video_mask: Array, text_mask: Array, generated: int) -> Array:
    valid = padding(video_mask, text_mask)[:, 0, 0]
    inside = _modality(video_mask, text_mask) == generated
    position = jnp.arange(len(inside))
    causal = position[None, :] <= position[:, None]
    queries = (valid & inside)[:, :, None]
    keys = (valid & inside)[:, None, :]
    given = (valid & ~inside)[:, None, :]
    return (given | (queries & keys & causal))[:, None]


def _video_keys(video_mask: Array) -> Array:
    """[CLS], frames, [SEP]: [B, V + 2]."""
    return jnp.pad(video_mask, ((0, 0), (1, 1)), constant_values=True)


def _modality(video_mask: Array, text_mask: Array) -> Array:
    """0 for [CLS], 1 for frames and the video's [SEP], 2 for text: [L]."""
    sizes = jnp.array([1, video_mask.shape[1] + 1, text_mask.shape[1]])
    length = video_mask.shape[1] + text_mask.shape[1] + 2
    return jnp.repeat(jnp.arange(3), sizes, total_repeat_length=length)
