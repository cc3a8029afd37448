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
    size = video_hidden.shape[-1]
    hidden = jnp.concatenate([video_hidden.reshape(-1, size), text_hidden.reshape(-1, size)])
    own = _dot(video_hidden, video_tokens).reshape(-1)
    words = _scores(hidden, vocabulary)
    word = jnp.take_along_axis(words[len(own) :], text.reshape(-1, 1), axis=1)[:, 0]
    target = jnp.concatenate([own, word])
    extra = jnp.concatenate([own, jnp.zeros_like(word)])
    frames = _frame_scores(hidden, video_tokens, negatives)
    normalizer = jnp.logaddexp(jax.nn.logsumexp(words, axis=1), jax.nn.logsumexp(frames, axis=1))
    losses = jnp.logaddexp(normalizer, extra) - target

    masked = jnp.concatenate([video_masked.reshape(-1), text_masked.reshape(-1)])
    frame_losses, word_losses = losses[: len(own)], losses[len(own) :]
    return _mean(losses, masked), {
        "frame_loss": _mean(frame_losses, video_masked.reshape(-1)),
        "word_loss": _mean(word_losses, text_masked.reshape(-1)),
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
    size = video_hidden.shape[-1]
    video_hidden, text_hidden = video_hidden.reshape(-1, size), text_hidden.reshape(-1, size)
    own = _dot(video_hidden, video_tokens.reshape(-1, size))
    frames = _frame_scores(video_hidden, video_tokens, negatives)
    frame_losses = jnp.logaddexp(jax.nn.logsumexp(frames, axis=1), own) - own
    words = _scores(text_hidden, vocabulary) + vocabulary_bias
    word_losses = optax.softmax_cross_entropy_with_integer_labels(words, text.reshape(-1))
    frame_loss = _mean(frame_losses, video_masked.reshape(-1))
    word_loss = _mean(word_losses, text_masked.reshape(-1))
    return frame_loss + word_loss, {"frame_loss": frame_loss, "word_loss": word_loss}


def contrastive(queries: Array, candidates: Array) -> Array:
    """Each query [B, H] against all candidates [B, H] of the batch, its own the right one.

    Scores are plain dot products, without temperature, as published. Text queries over video
    candidates is T2V, the reverse V2T.
    """
    scores = _scores(queries, candidates)
    return optax.softmax_cross_entropy_with_integer_labels(scores, jnp.arange(len(scores))).mean()


def _frame_scores(hidden: Array, video_tokens: Array, negatives: Array) -> Array:
    """[rows, frames of the batch], closed where a frame is no negative."""
    scores = _scores(hidden, video_tokens.reshape(-1, hidden.shape[-1]))
    return jnp.where(negatives.reshape(-1), scores, CLOSED)


def _scores(rows: Array, columns: Array) -> Array:
    return jnp.einsum(
        "rh,ch->rc", rows, columns.astype(rows.dtype), preferred_element_type=jnp.float32
    )


def _dot(a: Array, b: Array) -> Array:
    return jnp.einsum("...h,...h->...", a, b, preferred_element_type=jnp.float32)


def _mean(values: Array, where: Array) -> Array:
    """Mean over chosen rows; 0 where none is chosen."""
    return jnp.where(where, values, 0.0).sum() / jnp.maximum(where.sum(), 1)
