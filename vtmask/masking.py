"""Masking schemes of pre-training (VLM, section 3.2): the masked modality model (MMM).

Masks are drawn on the device, from a key.
"""

import dataclasses
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

REPLACE_BY_MASK = 0.8
REPLACE_BY_RANDOM = 0.1  # the remaining tenth keeps its token (BERT, section 3.1)


class Vocabulary(Protocol):
    """The vocabulary's size and special tokens; see `vtmask.models.VLMConfig`."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def pad_id(self) -> int: ...

    @property
    def cls_id(self) -> int: ...

    @property
    def sep_id(self) -> int: ...

    @property
    def mask_id(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class MaskingScheme:
    """Probabilities of the schemes.

    Attributes:
      mm_prob: probability that a sample has a masked modality: all its text or, with the same
        probability, all its video.
      mask_prob: probability that a token or frame of the other samples is masked.
    """

    mm_prob: float = 0.5
    mask_prob: float = 0.15


class Masked(NamedTuple):
    """A masked batch.

    Attributes:
      text: the model's input, with some tokens replaced, int [B, T].
      text_masked: True at tokens to predict, [B, T].
      video_masked: True at frames to predict, [B, V].
    """

    text: Array
    text_masked: Array
    video_masked: Array


def mask(
    key: Array, batch: dict[str, Array], scheme: MaskingScheme, vocabulary: Vocabulary
) -> Masked:
    """Draws masks for a batch. Special tokens and padding are never masked.

    Masked frames are always replaced. 80 % of masked tokens become [MASK], 10 % become a random
    token, and 10 % stay. As published, this also holds for a masked modality.

    Args:
      batch: `text` and `text_mask`, [B, T], and `video_mask`, [B, V].
    """
    text, video_mask = batch["text"], batch["video_mask"]
    special = jnp.array([vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id])
    maskable = batch["text_mask"] & ~jnp.isin(text, special)
    modality_key, text_key, video_key, replace_key, random_key = jax.random.split(key, 5)

    masked_modality = jax.random.uniform(modality_key, (len(text), 1))
    all_text = masked_modality < scheme.mm_prob / 2
    all_video = (masked_modality >= scheme.mm_prob / 2) & (masked_modality < scheme.mm_prob)
    ordinary = masked_modality >= scheme.mm_prob

    some_text = jax.random.bernoulli(text_key, scheme.mask_prob, text.shape)
    some_video = jax.random.bernoulli(video_key, scheme.mask_prob, video_mask.shape)
    text_masked = maskable & (all_text | (ordinary & some_text))
    video_masked = video_mask & (all_video | (ordinary & some_video))

    replace = jax.random.uniform(replace_key, text.shape)
    random_text = jax.random.randint(random_key, text.shape, 0, vocabulary.vocab_size, text.dtype)
    replaced = jnp.where(replace < REPLACE_BY_MASK + REPLACE_BY_RANDOM, random_text, text)
    replaced = jnp.where(replace < REPLACE_BY_MASK, vocabulary.mask_id, replaced)
    return Masked(jnp.where(text_masked, replaced, text), text_masked, video_masked)
