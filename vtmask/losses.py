"""Objectives of pre-training and fine-tuning, in float32.

Every objective is a softmax. Queries score candidates by dot products, and each query has a label,
the index of its right candidate. The joint softmax never materialises all scores: it processes
queries in blocks.

Arrays have the groups of `vtmask.unpadding`, so each part of a mesh scores its own queries.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array

from vtmask import mesh

CLOSED = -1e9  # finite, so that the difference of two closed scores is not NaN
BLOCK_SCORES = 2**26  # scores of a group in memory at a time: 256 MiB

# Negatives are embeddings of the complete batch or only of the device's own part.
Negatives = Literal["global", "device"]
NEGATIVES = get_args(Negatives)


class Queries(NamedTuple):
    """Queries, which score candidates.

    Attributes:
      hidden: [groups, M, H].
      label: index of the right candidate, int [groups, M].
      weight: of the query's cross-entropy in the loss, [groups, M].
      constant: an additional score in the query's softmax, or -inf for none: [groups, M].
    """

    hidden: Array
    label: Array
    weight: Array
    constant: Array


class Candidates(NamedTuple):
    """Candidates, which queries score.

    Attributes:
      embeddings: [groups, C, H].
      open: False if the candidate counts only as a positive, never as a negative: [groups, C].
      bias: added to scores, [C].
    """

    embeddings: Array
    open: Array
    bias: Array


def cross_entropy(queries: Queries, candidates: Candidates) -> tuple[Array, Array]:
    """Computes the weighted sum of the queries' cross-entropies.

    As the weights are known, the same pass computes the gradient: no score is computed twice.

    Returns:
      the sum, float32 [], and the cross-entropy of each query, float32 [groups, M], without a
      gradient.
    """
    if queries.hidden.dtype != jnp.float32:
        candidates = _aligned(candidates)
    loss, losses = _cross_entropy(queries, candidates)
    return loss, jax.lax.stop_gradient(losses)


def contrastive(queries: Array, candidates: Array, negatives: Negatives = "global") -> Array:
    """Computes the mean cross-entropy of queries [B, H] over the batch's candidates [B, H]: [].

    Candidate i is right for query i. As published, scores are plain dot products without a
    temperature. T2V has text queries and video candidates, V2T the reverse.
    """
    groups = mesh.num_groups()
    grouped = queries.reshape(groups, -1, queries.shape[-1])
    of_group = grouped.shape[:2]
    first, embeddings = candidates_of(candidates.reshape(grouped.shape), negatives)
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


def candidates_of(embeddings: Array, negatives: Negatives) -> tuple[Array, Array]:
    """Returns the candidates of each group's queries: embeddings of all groups, or of that group.

    Args:
      embeddings: of each group, [groups, F, ...].
      negatives: "global" for all groups, "device" for the group's own.

    Returns:
      the index of the group's first embedding among the candidates, [groups, 1], and the
      candidates, [groups, C, ...].
    """
    groups, size, *rest = embeddings.shape
    if negatives == "device":
        return jnp.zeros((groups, 1), int), embeddings
    everything = embeddings.reshape(1, groups * size, *rest)
    first = size * jnp.arange(groups)[:, None]
    return first, jnp.broadcast_to(everything, (groups, *everything.shape[1:]))


def scores(hidden: Array, candidates: Array) -> Array:
    """Computes dot products in float32: [..., H], [candidates, H] -> [..., candidates]."""
    return _product("...h,ch->...c", hidden, candidates.astype(hidden.dtype))


def _aligned(candidates: Candidates) -> Candidates:
    """Adds closed candidates up to a multiple of 8, as 16-bit matmuls read 8 at a time."""
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
    """Casts embeddings to the queries' precision, once for all blocks."""
    return candidates._replace(embeddings=candidates.embeddings.astype(queries.hidden.dtype))


def _scored(queries: Queries, candidates: Candidates) -> tuple[Array, Array]:
    """Returns cross-entropies [groups, M], and probabilities minus one-hot labels [groups, M, C].

    The latter are the gradients of the cross-entropies by score.
    """
    scores = _product("gmh,gch->gmc", queries.hidden, candidates.embeddings) + candidates.bias
    right = jnp.arange(scores.shape[-1]) == queries.label[..., None]
    scores = jnp.where(candidates.open[:, None] | right, scores, CLOSED)
    normalizer = jnp.logaddexp(jax.nn.logsumexp(scores, axis=-1), queries.constant)
    losses = normalizer - jnp.where(right, scores, 0.0).sum(axis=-1)
    return losses, jnp.exp(scores - normalizer[..., None]) - right


def _over_blocks(
    block: Callable[[Any, Queries], tuple[Any, Any]],
    sums: Any,
    queries: Queries,
    candidates: Candidates,
) -> tuple[Any, Any]:
    """Scans `block` over blocks of queries, each with about `BLOCK_SCORES` scores at most."""
    groups, size = queries.label.shape
    blocks = math.ceil(size * candidates.open.shape[1] / BLOCK_SCORES)
    model_parts = mesh.num_parts("model")
    length = math.ceil(size / (blocks * model_parts)) * model_parts

    def split(x: Array) -> Array:
        rest = [(0, 0)] * (x.ndim - 2)
        x = jnp.pad(x, [(0, 0), (0, blocks * length - size), *rest])
        return x.reshape(groups, blocks, length, *x.shape[2:]).swapaxes(0, 1)

    def join(x: Array) -> Array:
        return x.swapaxes(0, 1).reshape(groups, blocks * length, *x.shape[3:])[:, :size]

    def shared_block(sums: Any, queries: Queries) -> tuple[Any, Any]:
        return block(sums, queries._replace(hidden=mesh.split(queries.hidden, "model")))

    sums, outputs = jax.lax.scan(shared_block, sums, jax.tree.map(split, queries))
    return sums, jax.tree.map(join, outputs)


def _product(formula: str, a: Array, b: Array) -> Array:
    return jnp.einsum(formula, a, b, preferred_element_type=jnp.float32)
