"""Objectives of pre-training and fine-tuning, in float32.

All are a softmax: queries score candidates by dot products, and each query has a label, its right
candidate. The scores of all queries with all candidates are never in memory together.

Arrays are grouped as `vtmask.unpadding` has it, so that each part of a mesh scores its own queries.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array

from vtmask import unpadding

CLOSED = -1e9  # finite, as a difference of two scores may be of two closed ones
BLOCK_SCORES = 2**26  # scores of a group in memory at a time: 256 MiB

# Whose embeddings are negatives: the whole batch's, or those of the device's own part of it.
Negatives = Literal["global", "device"]
NEGATIVES = get_args(Negatives)


class Queries(NamedTuple):
    """What is scored.

    Attributes:
      hidden: [groups, M, H].
      label: index of the right candidate, int [groups, M].
      weight: of the query's cross-entropy in the loss, [groups, M].
      constant: a score that takes part in the query's softmax besides the candidates', -inf where
        there is none: [groups, M].
    """

    hidden: Array
    label: Array
    weight: Array
    constant: Array


class Candidates(NamedTuple):
    """What queries are scored with.

    Attributes:
      embeddings: [groups, C, H].
      open: False where a candidate takes part in the softmax of those queries only whose label it
        is: [groups, C].
      bias: added to scores, [C].
    """

    embeddings: Array
    open: Array
    bias: Array


def cross_entropy(queries: Queries, candidates: Candidates) -> tuple[Array, Array]:
    """The weighted sum of the queries' cross-entropies, and each of them, without a gradient.

    Takes queries in blocks. Where a gradient is wanted it comes from the same pass, as the weights
    are known: no score is computed twice.

    Returns:
      float32 [] and [groups, M].
    """
    if queries.hidden.dtype != jnp.float32:
        candidates = _aligned(candidates)
    loss, losses = _cross_entropy(queries, candidates)
    return loss, jax.lax.stop_gradient(losses)


def contrastive(queries: Array, candidates: Array, negatives: Negatives = "global") -> Array:
    """Each query [B, H] against the candidates [B, H] of the batch, its own the right one.

    Scores are plain dot products, without temperature, as published. Text queries over video
    candidates is T2V, the reverse V2T.
    """
    groups = unpadding.groups()
    grouped = queries.reshape(groups, -1, queries.shape[-1])
    of_group = grouped.shape[:2]
    first, embeddings = offered(candidates.reshape(grouped.shape), negatives)
    loss, _ = cross_entropy(
        Queries(
            grouped,
            first + jnp.arange(of_group[1]),
            jnp.full(of_group, 1 / len(queries)),
            jnp.full(of_group, -jnp.inf),
        ),
        Candidates(
            embeddings, jnp.ones(embeddings.shape[:2], bool), jnp.zeros(embeddings.shape[1])
        ),
    )
    return loss


def offered(embeddings: Array, negatives: Negatives) -> tuple[Array, Array]:
    """What each group's queries are scored with, of embeddings that each group has.

    Args:
      embeddings: [groups, F, ...].

    Returns:
      The index of a group's own first one, [groups, 1], and the candidates, [groups, C, ...].
    """
    groups, size, *rest = embeddings.shape
    if negatives == "device":
        return jnp.zeros((groups, 1), int), embeddings
    everything = embeddings.reshape(1, groups * size, *rest)
    first = size * jnp.arange(groups)[:, None]
    return first, jnp.broadcast_to(everything, (groups, *everything.shape[1:]))


def scores(hidden: Array, candidates: Array) -> Array:
    """Dot products in float32: [..., H], [candidates, H] -> [..., candidates]."""
    return _product("...h,ch->...c", hidden, candidates.astype(hidden.dtype))


def _aligned(candidates: Candidates) -> Candidates:
    """Their number a multiple of 8, by closed ones: products of 16 bits read 8 at a time."""
    more = -candidates.open.shape[1] % 8
    return Candidates(
        jnp.pad(candidates.embeddings, ((0, 0), (0, more), (0, 0))),
        jnp.pad(candidates.open, ((0, 0), (0, more))),
        jnp.pad(candidates.bias, (0, more)),
    )


@jax.custom_vjp
def _cross_entropy(queries: Queries, candidates: Candidates) -> tuple[Array, Array]:
    rounded = _rounded(candidates, queries)

    def block(sums: None, queries: Queries) -> tuple[None, Array]:
        return sums, _scored(queries, rounded)[0]

    _, losses = _over_blocks(block, None, queries, candidates)
    return (losses * queries.weight).sum(), losses


def _forward(
    queries: Queries, candidates: Candidates
) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
    rounded = _rounded(candidates, queries)

    def block(
        sums: tuple[Array, Array], queries: Queries
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        losses, excess = _scored(queries, rounded)
        of_scores = excess * queries.weight[..., None]
        by_embedding, by_bias = sums
        by_bias += of_scores.sum((0, 1))
        of_scores = of_scores.astype(queries.hidden.dtype)
        by_embedding += _product("gmc,gmh->gch", of_scores, queries.hidden)
        by_hidden = _product("gmc,gch->gmh", of_scores, rounded.embeddings)
        return (by_embedding, by_bias), (losses, by_hidden)

    zeros = (jnp.zeros(rounded.embeddings.shape), jnp.zeros(rounded.bias.shape))
    (by_embedding, by_bias), (losses, by_hidden) = _over_blocks(block, zeros, queries, candidates)
    loss = (losses * queries.weight).sum()
    gradients = (
        by_hidden.astype(queries.hidden.dtype),
        by_embedding.astype(candidates.embeddings.dtype),
        by_bias,
    )
    return (loss, losses), gradients


def _backward(
    gradients: tuple[Array, Array, Array], of_loss: tuple[Array, Array]
) -> tuple[Queries, Candidates]:
    by_hidden, by_embedding, by_bias = (
        gradient * of_loss[0].astype(gradient.dtype) for gradient in gradients
    )
    nothing: Any = None
    return Queries(by_hidden, *[nothing] * 3), Candidates(by_embedding, nothing, by_bias)


_cross_entropy.defvjp(_forward, _backward)


def _rounded(candidates: Candidates, queries: Queries) -> Candidates:
    """Embeddings as exact as what they are multiplied with, once for all blocks."""
    return candidates._replace(embeddings=candidates.embeddings.astype(queries.hidden.dtype))


def _scored(queries: Queries, candidates: Candidates) -> tuple[Array, Array]:
    """Cross-entropies [groups, M], and probabilities less those of the labels [groups, M, C]."""
    found = _product("gmh,gch->gmc", queries.hidden, candidates.embeddings) + candidates.bias
    right = jnp.arange(found.shape[-1]) == queries.label[..., None]
    found = jnp.where(candidates.open[:, None] | right, found, CLOSED)
    normalizer = jnp.logaddexp(jax.nn.logsumexp(found, axis=-1), queries.constant)
    losses = normalizer - jnp.where(right, found, 0.0).sum(axis=-1)
    return losses, jnp.exp(found - normalizer[..., None]) - right


def _over_blocks(
    block: Callable[[Any, Queries], tuple[Any, Any]],
    sums: Any,
    queries: Queries,
    candidates: Candidates,
) -> tuple[Any, Any]:
    """Scans `block` over queries, few enough at a time, as `jax.lax.scan` does."""
    groups, size = queries.label.shape
    blocks = math.ceil(size * candidates.open.shape[1] / BLOCK_SCORES)
    shared = unpadding.parts("model")
    length = math.ceil(size / (blocks * shared)) * shared

    def split(x: Array) -> Array:
        rest = [(0, 0)] * (x.ndim - 2)
        x = jnp.pad(x, [(0, 0), (0, blocks * length - size), *rest])
        return x.reshape(groups, blocks, length, *x.shape[2:]).swapaxes(0, 1)

    def join(x: Array) -> Array:
        return x.swapaxes(0, 1).reshape(groups, blocks * length, *x.shape[3:])[:, :size]

    def shared_block(sums: Any, queries: Queries) -> tuple[Any, Any]:
        return block(sums, queries._replace(hidden=unpadding.split(queries.hidden, "model")))

    sums, found = jax.lax.scan(shared_block, sums, jax.tree.map(split, queries))
    return sums, jax.tree.map(join, found)


def _product(formula: str, a: Array, b: Array) -> Array:
    return jnp.einsum(formula, a, b, preferred_element_type=jnp.float32)
