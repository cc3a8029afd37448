"""Objectives of pre-training and fine-tuning, in float32.

Frames are scored by dot products with video tokens (before the encoder), words by dot products
with the word embeddings. Negatives of a masked frame are the unmasked valid frames of the whole
batch, over all devices.
"""

import jax
import jax.numpy as jnp
import optax
from jax import Array

CLOSED = -1e9  # finite, so that a batch without an unmasked frame has finite gradients


def masked_token_model(
    video_hidden: Array,
    text_hidden: Array,
    video_tokens: Array,
    video_masked: Array,
    negatives: Array,
    text: Array,
    text_masked: Array,
    vocabulary: Array,
) -> tuple[Array, dict[str, Array]]:
    """MTM: one softmax over the vocabulary and the frames (VLM, section 3.2, equation 1).

    A masked frame's softmax is over its own token, the negatives and the vocabulary; a masked
    word's over the vocabulary, the negatives and, as published, one constant score of 0. The loss
    is the mean over all masked positions.

    Args:
      video_hidden, text_hidden: output of the prediction head, [B, V, H] and [B, T, H].
      video_tokens: of the unmasked input, [B, V, H].
      video_masked, text_masked: True where there is a loss, [B, V] and [B, T].
      negatives: True for unmasked valid frames, [B, V].
      text: the right token ids, [B, T].
      vocabulary: word embeddings, [vocab_size, H].

    Returns:
      The loss and its parts.
    """
    num_frames = video_hidden.shape[1]
    hidden = jnp.concatenate([video_hidden, text_hidden], axis=1)
    own = _dot(video_hidden, video_tokens)
    words = scores(hidden, vocabulary)
    word = jnp.take_along_axis(words[:, num_frames:], text[..., None], axis=2)[..., 0]
    target = jnp.concatenate([own, word], axis=1)
    extra = jnp.concatenate([own, jnp.zeros_like(word)], axis=1)
    frames = frame_scores(hidden, video_tokens, negatives)
    normalizer = jnp.logaddexp(jax.nn.logsumexp(words, axis=2), jax.nn.logsumexp(frames, axis=2))
    losses = jnp.logaddexp(normalizer, extra) - target

    masked = jnp.concatenate([video_masked, text_masked], axis=1)
    return _mean(losses, masked), {
        "frame_loss": _mean(losses[:, :num_frames], video_masked),
        "word_loss": _mean(losses[:, num_frames:], text_masked),
    }


def masked_frame_and_language_model(
    video_hidden: Array,
    text_hidden: Array,
    video_tokens: Array,
    video_masked: Array,
    negatives: Array,
    text: Array,
    text_masked: Array,
    vocabulary: Array,
    vocabulary_bias: Array,
) -> tuple[Array, dict[str, Array]]:
    """MFM+MLM: a softmax over frames and one over the vocabulary; the sum of two means.

    Arguments and result as in `masked_token_model`; `vocabulary_bias` is [vocab_size].
    """
    own = _dot(video_hidden, video_tokens)
    frames = frame_scores(video_hidden, video_tokens, negatives)
    frame_losses = jnp.logaddexp(jax.nn.logsumexp(frames, axis=2), own) - own
    words = scores(text_hidden, vocabulary) + vocabulary_bias
    word_losses = optax.softmax_cross_entropy_with_integer_labels(words, text)
    frame_loss = _mean(frame_losses, video_masked)
    word_loss = _mean(word_losses, text_masked)
    return frame_loss + word_loss, {"frame_loss": frame_loss, "word_loss": word_loss}


def contrastive(queries: Array, candidates: Array) -> Array:
    """Each query [B, H] against all candidates [B, H] of the batch, its own the right one.

    Scores are plain dot products, without temperature, as published. Text queries over video
    candidates is T2V, the reverse V2T.
    """
    found = scores(queries, candidates)
    return optax.softmax_cross_entropy_with_integer_labels(found, jnp.arange(len(found))).mean()


def frame_scores(hidden: Array, video_tokens: Array, negatives: Array) -> Array:
    """Scores against every frame of the batch: [..., H], [B, V, H] -> [..., B * V].

    Closed where a frame is no negative ([B, V]).
    """
    against_all = scores(hidden, video_tokens.reshape(-1, hidden.shape[-1]))
    return jnp.where(negatives.reshape(-1), against_all, CLOSED)


def scores(hidden: Array, candidates: Array) -> Array:
    """Dot products in float32: [..., H], [candidates, H] -> [..., candidates]."""
    candidates = candidates.astype(hidden.dtype)
    return jnp.einsum("...h,ch->...c", hidden, candidates, preferred_element_type=jnp.float32)


def _dot(a: Array, b: Array) -> Array:
    return jnp.einsum("...h,...h->...", a, b, preferred_element_type=jnp.float32)


def _mean(values: Array, where: Array) -> Array:
    """Mean over chosen entries; 0 where none is chosen."""
    return jnp.where(where, values, 0.0).sum() / jnp.maximum(where.sum(), 1)
