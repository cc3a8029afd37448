"""Ranks right candidates among millions, one block of scores at a time, in JAX."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from tqdm import tqdm

from vtmask.errors import UserError

_CHUNK = 128  # candidates that share a maximum; see `_update`


@dataclass(frozen=True)
class Ranking:
    """The ranks of right candidates, and the best candidates.

    Attributes:
      ranks: of the right candidate, 1 is best; float64 [Q].
      top_indices: the candidates with the highest scores, best first, int [Q, top]. Among equal
        scores, the lower index comes first. Fewer than `top` if there are fewer candidates.
      top_scores: their scores, float32 [Q, top].
      right_scores: of the right candidate, or of the best of several, float32 [Q].
    """

    ranks: np.ndarray
    top_indices: np.ndarray
    top_scores: np.ndarray
    right_scores: np.ndarray


class _State(NamedTuple):
    """The state of ranking for a block of queries.

    Attributes:
      ahead: twice the number of candidates with a higher score than the right one, plus the number
        with an equal score, the right one included; int32 [queries].
      scores, indices: of the best candidates so far, [queries, top]; -inf for missing ones.
    """

    ahead: Array
    scores: Array
    indices: Array


def rank(
    queries: np.ndarray,
    candidates: np.ndarray,
    right: np.ndarray,
    top: int = 10,
    query_block: int = 512,
    candidate_block: int = 8192,
) -> Ranking:
    """Ranks candidates by their dot products with each query.

    A rank is as in `vtmask.evaluation.metrics.ranks`: 1 + the number of candidates with a higher
    score + half the number of others with an equal one. If a query has several right candidates,
    such as the sentences of a video, its rank is that of the best of them, and the others don't
    count.

    Scores are float32 products at the highest precision. A single compiled program of one shape
    computes them all. So equal candidates tie even across blocks, and a right candidate's score is
    bitwise the same wherever it is computed.

    Candidates are read one block at a time and may be a memory-mapped file. Besides the arguments,
    memory is O(Q (H + R + top)) plus, for a few blocks, `query_block` x `candidate_block` scores
    and `candidate_block` x H numbers. Blocks with right candidates are read and scored twice, the
    first time against few queries.

    Args:
      queries: [Q, H], floating-point.
      candidates: [N, H], floating-point.
      right: the index of each query's right candidate, int [Q]; or of several, int [Q, R], filled
        up with -1. Queries may share right candidates, and a candidate need not be right for any
        query.
      top: number of best candidates to return.
      query_block, candidate_block: queries and candidates at a time; the latter a multiple of 128.

    Raises:
      UserError: a number is not finite, or so large that a score might not be.
      ValueError: an argument is not as above, there are no queries, or a query has no right
        candidate or the same twice.
    """
    right = _as_lists(queries, candidates, right)
    if min(top, query_block, candidate_block) < 1 or candidate_block % _CHUNK:
        raise ValueError(
            f"expected top and blocks >= 1, candidate_block a multiple of {_CHUNK}, "
            f"got {top}, {query_block} and {candidate_block}"
        )
    queries = _float32("queries", queries, 0)
    top = min(top, len(candidates))
    query_block = min(query_block, len(queries))
    candidate_block = min(candidate_block, math.ceil(len(candidates) / _CHUNK) * _CHUNK)
    starts = range(0, len(candidates), candidate_block)

    # Sorted by right candidate, a block of queries has its right candidates in few blocks.
    order = np.argsort(right.max(axis=1), kind="stable")
    blocks = [
        jax.device_put(_padded(queries[order[start : start + query_block]], query_block))
        for start in range(0, len(queries), query_block)
    ]
    rights = np.full((len(blocks) * query_block, right.shape[1]), -1)
    rights[: len(queries)] = right[order]
    right_scores = np.concatenate(_right_scores(blocks, candidates, starts, rights))
    best = right_scores.max(axis=1)

    bests = np.split(best, len(blocks))
    state = [_empty_state(query_block, top)] * len(blocks)
    for start in _progress(starts, "rank"):
        block = _read(candidates, start, candidate_block)  # while the last one is being scored
        jax.block_until_ready(state)
        for number, block_queries in enumerate(blocks):
            scores = _scores(block_queries, block)
            if start + candidate_block > len(candidates):
                scores = _hide_after(scores, len(candidates) - start)
            state[number] = _update(state[number], scores, bests[number], start)

    ahead, top_scores, top_indices = (np.concatenate(parts) for parts in zip(*state, strict=True))
    ties = (right_scores == best[:, None]).sum(axis=1)
    place = np.argsort(order)
    return Ranking(
        ranks=(1 + (ahead - ties) / 2)[place],
        top_indices=top_indices[place],
        top_scores=top_scores[place],
        right_scores=best[place],
    )


def _as_lists(queries: np.ndarray, candidates: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Checks the arguments; returns the right candidates as [Q, R]."""
    if queries.ndim != 2 or candidates.ndim != 2 or queries.shape[1] != candidates.shape[1]:
        raise ValueError(
            f"expected queries [Q, H] and candidates [N, H], got {queries.shape}, "
            f"{candidates.shape}"
        )
    if right.ndim not in (1, 2) or len(right) != len(queries) or not right.size:
        raise ValueError(f"expected right [{len(queries)}] or two-dimensional, got {right.shape}")
    right = right.reshape(len(right), -1)
    if right.min() < -1 or right.max() >= len(candidates):
        raise ValueError(f"expected right from -1 to {len(candidates) - 1}")
    ordered = np.sort(right, axis=1)
    if (ordered[:, -1] < 0).any():
        raise ValueError(f"query {np.argmin(ordered[:, -1])} has no right candidate")
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ValueError("a query has the same right candidate twice")
    return right


def _right_scores(
    blocks: list[Array], candidates: np.ndarray, starts: range, rights: np.ndarray
) -> list[np.ndarray]:
    """Scores each block of queries against its right candidates: [block, R]; -inf for index -1."""
    rights_of = np.split(rights, len(blocks))
    scores = [np.full(right.shape, -np.inf, np.float32) for right in rights_of]
    homes = [set(np.unique(right[right >= 0] // starts.step)) for right in rights_of]
    for start in _progress(starts, "score the right ones"):
        near = [i for i, home in enumerate(homes) if start // starts.step in home]
        block = _read(candidates, start, starts.step) if near else None
        for i in near:
            picked = _pick(_scores(blocks[i], block), rights_of[i] - start)
            scores[i] = np.maximum(scores[i], picked)
    return scores


def _progress(starts: range, what: str) -> Iterable[int]:
    return tqdm(starts, what, disable=len(starts) == 1)


def _read(candidates: np.ndarray, start: int, size: int) -> Array:
    rows = _float32("candidates", candidates[start : start + size], start)
    return jax.device_put(_padded(rows, size))


def _float32(name: str, rows: np.ndarray, start: int) -> np.ndarray:
    """Casts rows to float32; `start` is the index of the first.

    Raises:
      UserError: a dot product of such rows might not be finite.
    """
    rows = rows.astype(np.float32)
    limit = np.float32(math.sqrt(np.finfo(np.float32).max / rows.shape[1]))
    good = (np.abs(rows) <= limit).all(axis=1)
    if not good.all():
        raise UserError(
            f"{name}: row {start + np.argmin(good)} has a number that is not finite or beyond "
            f"{limit:.0e}; check the features and the checkpoint for NaN"
        )
    return rows


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    """Adds rows of zeros up to `size`."""
    return np.concatenate([rows, np.zeros((size - len(rows), rows.shape[1]), rows.dtype)])


def _empty_state(queries: int, top: int) -> _State:
    return _State(
        jnp.zeros(queries, jnp.int32),
        jnp.full((queries, top), -jnp.inf),
        jnp.full((queries, top), -1, jnp.int32),
    )


@jax.jit
def _scores(queries: Array, candidates: Array) -> Array:
    """[Q, H], [N, H] -> [Q, N]; separate from `_update`, so that XLA compiles it only one way."""
    return jnp.einsum("qh,nh->qn", queries, candidates, precision=lax.Precision.HIGHEST)


@jax.jit
def _pick(scores: Array, columns: Array) -> Array:
    """Picks scores [Q, N] at columns [Q, R]; -inf for columns outside."""
    inside = (columns >= 0) & (columns < scores.shape[1])
    picked = jnp.take_along_axis(scores, jnp.where(inside, columns, 0), axis=1)
    return jnp.where(inside, picked, -jnp.inf)


@jax.jit
def _hide_after(scores: Array, count: Array) -> Array:
    return jnp.where(jnp.arange(scores.shape[1]) < count, scores, -jnp.inf)


@jax.jit
def _update(state: _State, scores: Array, best: Array, start: Array) -> _State:
    """Adds the scores [Q, N] of candidates from index `start` on.

    It looks for the highest scores only in the chunks with the highest maxima, as sorting all
    scores takes longer than the matmul.
    """
    chunks = scores.reshape(len(scores), -1, _CHUNK)
    right = best[:, None, None]
    # In int16, which a chunk can't overflow, XLA's CPU code adds several times as fast.
    ahead = (chunks > right).astype(jnp.int16) + (chunks >= right).astype(jnp.int16)
    ahead = ahead.sum(axis=2, dtype=jnp.int16).sum(axis=1, dtype=jnp.int32)

    top = state.scores.shape[1]
    _, chosen = lax.top_k(chunks.max(axis=2), min(top, chunks.shape[1]))
    chosen = jnp.sort(chosen, axis=1)[..., None]  # so that the lower index wins a tie
    new_scores = jnp.take_along_axis(chunks, chosen, axis=1).reshape(len(scores), -1)
    new_indices = (start + chosen * _CHUNK + jnp.arange(_CHUNK)).reshape(len(scores), -1)
    merged, places = lax.top_k(jnp.concatenate([state.scores, new_scores], axis=1), top)
    indices = jnp.concatenate([state.indices, new_indices], axis=1)
    return _State(state.ahead + ahead, merged, jnp.take_along_axis(indices, places, axis=1))
