"""Which positions are masked: the masked-modality schemes of VLM (section 3.2), on the device."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from vtmask.models.vlm import VLMConfig

REPLACE_BY_MASK = 0.8
REPLACE_BY_RANDOM = 0.1  # the remaining tenth keeps its token (BERT, section 3.1)


@dataclasses.dataclass(frozen=True)
class MaskingScheme:
    """Probabilities of the schemes.

    Attributes:
      mm_prob: a sample has a whole modality masked, text and video equally often (MMM).
      mask_prob: a token or frame of the other samples is masked.
    """

    mm_prob: float = 0.5
    mask_prob: float = 0.15


class Masked(NamedTuple):
    """What to predict: `text` [B, T] is the model's input, with some tokens replaced;
    `text_masked` [B, T] and `video_masked` [B, V] are True where there is a loss."""

    text: Array
    text_masked: Array
    video_masked: Array


def mask(key: Array, batch: dict[str, Array], scheme: MaskingScheme, config: VLMConfig) -> Masked:
    """Draws masks for a batch; special tokens and padding are never masked.

    Masked frames are always replaced; of masked tokens 80 % become [MASK], 10 % a random token and
    10 % stay, whole masked texts included, as published.
    """
    text, video_mask = batch["text"], batch["video_mask"]
    special = jnp.array([config.pad_id, config.cls_id, config.sep_id])
    maskable = batch["text_mask"] & ~jnp.isin(text, special)
    modality_key, text_key, video_key, replace_key, random_key = jax.random.split(key, 5)

    whole = jax.random.uniform(modality_key, (len(text), 1))
    whole_text = whole < scheme.mm_prob / 2
    whole_video = (whole >= scheme.mm_prob / 2) & (whole < scheme.mm_prob)
    ordinary = whole >= scheme.mm_prob

    some_text = jax.random.bernoulli(text_key, scheme.mask_prob, text.shape)
    some_video = jax.random.bernoulli(video_key, scheme.mask_prob, video_mask.shape)
    text_masked = maskable & (whole_text | (ordinary & some_text))
    video_masked = video_mask & (whole_video | (ordinary & some_video))

    replace = jax.random.uniform(replace_key, text.shape)
    random_text = jax.random.randint(random_key, text.shape, 0, config.vocab_size, text.dtype)
    replaced = jnp.where(replace < REPLACE_BY_MASK + REPLACE_BY_RANDOM, random_text, text)
    replaced = jnp.where(replace < REPLACE_BY_MASK, config.mask_id, replaced)
    return Masked(jnp.where(text_masked, replaced, text), text_masked, video_masked)
