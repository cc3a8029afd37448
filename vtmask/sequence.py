"""The sequence that VLM encodes: `[CLS] video [SEP] text [SEP]` (Xu et al., 2021, section 3.1).

This module joins and splits sequences; no other file knows an offset. A sequence has L = V + T + 2
positions: [CLS], V frames, the video's [SEP], and T text tokens, of which the last valid one is the
text's [SEP]. V and T may be smaller than the model's, or 0.

Functions work on JAX and NumPy arrays, with positions on axis 1.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

CLS, VIDEO, TEXT = 0, 1, 2  # values of `modality`


class Parts(NamedTuple):
    """The parts of a sequence.

    Attributes:
      cls: at [CLS], [B, 1, ...].
      frames: at the frames, [B, V, ...].
      separator: at the video's [SEP], [B, 1, ...].
      text: at the text and its [SEP], [B, T, ...].
    """

    cls: Array
    frames: Array
    separator: Array
    text: Array


def join(cls: Array, frames: Array, separator: Array, text: Array) -> Array:
    """Joins the parts of a sequence; see `Parts`: [B, L, ...]."""
    return jnp.concatenate([cls, frames, separator, text], axis=1)


def join_with(special: int | bool, frames: Array, text: Array) -> Array:
    """Joins [B, V] and [B, T], with one value at [CLS] and at the video's [SEP]: [B, L]."""
    end = jnp.full((len(frames), 1), special, frames.dtype)
    return join(end, frames, end, text)


def split(x: Array, num_frames: int) -> Parts:
    """Splits a sequence [B, L, ...] of V = `num_frames` frames into its parts."""
    text = num_frames + 2
    return Parts(x[:, :1], x[:, 1 : num_frames + 1], x[:, num_frames + 1 : text], x[:, text:])


def join_text(cls: Array, text: Array) -> Array:
    """Joins `[CLS] text [SEP]`, a text without a video: [B, 1, ...], [B, T, ...]."""
    return jnp.concatenate([cls, text], axis=1)


def split_text(x: Array) -> tuple[Array, Array]:
    """Splits `[CLS] text [SEP]` into [CLS] and text: [B, 1, ...], [B, T, ...]."""
    return x[:, :1], x[:, 1:]


def positions(num_frames: int, num_tokens: int, max_video_len: int) -> Array:
    """Position ids, as published: int [L].

    [CLS] is 0 and the frames follow from 1. The video's [SEP] is always `max_video_len` + 1 and the
    text follows from `max_video_len` + 2, however many frames there are.
    """
    start = text_position(max_video_len)
    frames = jnp.arange(num_frames + 1)
    return jnp.append(frames, jnp.arange(start - 1, start + num_tokens))


def text_position(max_video_len: int) -> int:
    """Position id of the first text token."""
    return max_video_len + 2


def max_text_len(max_len: int, max_video_len: int) -> int:
    """T of a sequence of `max_len` positions, the text's [SEP] included."""
    return max_len - max_video_len - 2


def segments(num_frames: int, num_tokens: int) -> Array:
    """Segment ids: 0 up to and including the video's [SEP], 1 after it: int [L]."""
    return (modality(num_frames, num_tokens) == TEXT).astype(jnp.int32)


def modality(num_frames: int, num_tokens: int) -> Array:
    """`CLS`, `VIDEO` (frames and the video's [SEP]) or `TEXT` of each position: int [L]."""
    counts = jnp.array([1, num_frames + 1, num_tokens])
    length = num_frames + num_tokens + 2
    return jnp.repeat(jnp.array([CLS, VIDEO, TEXT]), counts, total_repeat_length=length)


def valid(video_mask: Array, text_mask: Array) -> Array:
    """True at positions that are not padding: [B, V], [B, T] -> bool [B, L]."""
    return join_with(True, video_mask, text_mask)


def valid_text(text_mask: Array) -> Array:
    """True at positions of `[CLS] text [SEP]` that are not padding: [B, T] -> bool [B, T + 1]."""
    return join_text(jnp.ones((len(text_mask), 1), bool), text_mask)
