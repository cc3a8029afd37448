"""Sequences from a model that scores the next token: beam search and sampling.

Neither depends on the model. Both take the scores of the first token. For later tokens they call
`step`, a function of

- `tokens`: int [B, K], the last token of each of K beams;
- `position`: int [], 0 for the first token;
- `paths`: bool [B, K, N - 1, K], True at [b, k, t, j] if the token that beam j had at position t is
  part of beam k, up to and including its last token;
- `cache`: arrays that the model keeps from earlier calls.

It returns the scores of the next token, float32 [B, K, vocab_size] (logits, up to a constant), and
the cache. When beams change places, the cache is not reordered, only `paths` is. From `paths`, a
model with attention knows which tokens of all beams belong to a beam.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Step = Callable[[Array, Array, Array, Any], tuple[Array, Any]]

UNUSED = -1e9  # the sum of a beam that does not exist yet; finite, as in the published search


@dataclasses.dataclass(frozen=True)
class Sequences:
    """The form and the score of sequences to generate.

    Attributes:
      end_id, pad_id: the token that ends a sequence, and the token that pads it.
      max_tokens: N, the most tokens of a sequence, counting `end_id` if there is one.
      length_penalty: a sequence's score is the sum of its tokens' log-probabilities, including that
        of `end_id`, divided by length ** length_penalty.
      prompt_length: added to the number of tokens before `end_id` to give the length; at least 1.
    """

    end_id: int
    pad_id: int
    max_tokens: int
    length_penalty: float = 1.0
    prompt_length: int = 1

    def score(self, sums: Array, num_tokens: Array | int) -> Array:
        """Computes scores from sums of log-probabilities and numbers of tokens before `end_id`."""
        length = jnp.asarray(self.prompt_length + num_tokens, jnp.float32)
        return sums / length**self.length_penalty


class _Beams(NamedTuple):
    """The state of beam searches after `position` tokens.

    Attributes:
      tokens, sums, paths: of open beams, best first; [B, K, N], [B, K] and [B, K, N - 1, K].
      last: the last token of each open beam, [B, K].
      finished, scores: the best finished sequences and their scores, best first; [B, K, N] and
        [B, K], -inf for a missing one.
      done: True if continuations no longer count, [B].
      cache: of the model.
    """

    position: Array
    tokens: Array
    sums: Array
    paths: Array
    last: Array
    finished: Array
    scores: Array
    done: Array
    cache: Any


class _Drawn(NamedTuple):
    """The state of sampling after `position` tokens.

    Attributes:
      tokens: so far, [B, N].
      last, sums, lengths, done: of each sequence, [B].
      cache: of the model.
    """

    position: Array
    tokens: Array
    last: Array
    sums: Array
    lengths: Array
    done: Array
    cache: Any


def beam_search(
    step: Step, logits: Array, cache: Any, target: Sequences, num_beams: int
) -> tuple[Array, Array]:
    """Finds the best sequences by beam search; with one beam, the greedy ones.

    Follows the published model's search (`generate` of Hugging Face transformers 3.4 without early
    stopping). It takes the 2K best continuations of K beams. Those among the first K that end are
    finished; the best K that don't end stay open. A search is done when it has K finished sequences
    and the best continuation, scored at its current length, is not better than the worst of them.
    After `max_tokens`, open beams compete with finished sequences as they are.

    Args:
      step, cache: see the module.
      logits: of the first token, [B, vocab_size].
      num_beams: K.

    Returns:
      ids int32 [B, max_tokens] of the best sequence of each search, padded, and scores [B].
    """
    size, length = (len(logits), num_beams), target.max_tokens

    def extend(beams: _Beams, logits: Array) -> _Beams:
        t = beams.position
        sums, parents, tokens = _continuations(beams.sums, logits, 2 * num_beams)
        sequences = _take(beams.tokens, parents).at[:, :, t].set(tokens)
        ended = tokens == target.end_id

        scores = target.score(sums, t)
        counts = ended[:, :num_beams] & ~beams.done[:, None]
        finished, best = _best(
            [beams.finished, sequences[:, :num_beams]],
            [beams.scores, jnp.where(counts, scores[:, :num_beams], -jnp.inf)],
            num_beams,
        )
        kept = jnp.argsort(ended, axis=1, stable=True)[:, :num_beams]
        return _Beams(
            position=t + 1,
            tokens=_take(sequences, kept),
            sums=_take(sums, kept),
            paths=_take(beams.paths, _take(parents, kept)),
            last=_take(tokens, kept),
            finished=finished,
            scores=best,
            done=beams.done | (best[:, -1] >= scores[:, 0]),
            cache=beams.cache,
        )

    def advance(beams: _Beams) -> _Beams:
        fed = beams.position - 1
        same_beam = jnp.eye(num_beams, dtype=bool)[:, None]
        paths = beams.paths | (same_beam & (jnp.arange(length - 1) == fed)[:, None])
        logits, cache = step(beams.last, fed, paths, beams.cache)
        return extend(beams._replace(paths=paths, cache=cache), logits)

    empty = jnp.full((*size, length), target.pad_id, jnp.int32)
    start = _Beams(
        position=jnp.zeros((), jnp.int32),
        tokens=empty,
        sums=jnp.full(size, UNUSED).at[:, 0].set(0.0),
        paths=jnp.zeros((*size, length - 1, num_beams), bool),
        last=empty[..., 0],
        finished=empty,
        scores=jnp.full(size, -jnp.inf),
        done=jnp.zeros(size[0], bool),
        cache=cache,
    )
    beams = jax.lax.while_loop(
        lambda beams: (beams.position < length) & ~beams.done.all(),
        advance,
        extend(start, jnp.broadcast_to(logits[:, None], (*size, logits.shape[-1]))),
    )
    open_scores = jnp.where(beams.done[:, None], -jnp.inf, target.score(beams.sums, length))
    ids, scores = _best([beams.finished, beams.tokens], [beams.scores, open_scores], 1)
    return ids[:, 0], scores[:, 0]


def sample(
    step: Step,
    logits: Array,
    cache: Any,
    target: Sequences,
    key: Array,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> tuple[Array, Array]:
    """Samples sequences token by token.

    Args:
      step, logits, cache: as in `beam_search`, with one beam.
      temperature: divides the logits.
      top_p: tokens are drawn from the most likely ones that together have at least this
        probability.

    Returns:
      ids int32 [B, max_tokens], padded, and scores [B] under the model's unmodified probabilities.
    """
    size, length = len(logits), target.max_tokens

    def extend(drawn: _Drawn, logits: Array) -> _Drawn:
        t = drawn.position
        likeliest = _likeliest(logits / temperature, top_p)
        token = jax.random.categorical(jax.random.fold_in(key, t), likeliest).astype(jnp.int32)
        gained = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=1)[:, 0]
        done = drawn.done | (token == target.end_id)
        return _Drawn(
            position=t + 1,
            tokens=drawn.tokens.at[:, t].set(jnp.where(drawn.done, target.pad_id, token)),
            last=token,
            sums=drawn.sums + jnp.where(drawn.done, 0.0, gained),
            lengths=drawn.lengths + ~done,
            done=done,
            cache=drawn.cache,
        )

    def advance(drawn: _Drawn) -> _Drawn:
        fed = drawn.position - 1
        seen = (jnp.arange(length - 1) <= fed)[:, None]
        paths = jnp.broadcast_to(seen, (size, 1, length - 1, 1))
        logits, cache = step(drawn.last[:, None], fed, paths, drawn.cache)
        return extend(drawn._replace(cache=cache), logits[:, 0])

    empty = jnp.full((size, length), target.pad_id, jnp.int32)
    zeros = jnp.zeros(size, jnp.int32)
    start = _Drawn(zeros[0], empty, zeros, jnp.zeros(size), zeros, zeros.astype(bool), cache)
    drawn = jax.lax.while_loop(
        lambda drawn: (drawn.position < length) & ~drawn.done.all(), advance, extend(start, logits)
    )
    return drawn.tokens, target.score(drawn.sums, drawn.lengths)


def _continuations(sums: Array, logits: Array, count: int) -> tuple[Array, Array, Array]:
    """Finds the `count` best next tokens of all beams together, best first.

    Returns:
      sums of log-probabilities, parent beams and tokens, [B, count] each.
    """
    top, tokens = jax.lax.top_k(logits, min(count, logits.shape[-1]))
    top = top - jax.nn.logsumexp(logits, axis=-1, keepdims=True) + sums[..., None]
    sums, index = jax.lax.top_k(top.reshape(len(top), -1), count)
    return sums, index // top.shape[-1], _take(tokens.reshape(len(top), -1), index)


def _best(sequences: list[Array], scores: list[Array], count: int) -> tuple[Array, Array]:
    """Returns the `count` sequences [B, S, N] with the highest scores [B, S], and these scores."""
    best, index = jax.lax.top_k(jnp.concatenate(scores, axis=1), count)
    return _take(jnp.concatenate(sequences, axis=1), index), best


def _take(values: Array, index: Array) -> Array:
    """Takes entries of axis 1, row by row: [B, K, ...], [B, S] -> [B, S, ...]."""
    return jax.vmap(lambda row, i: row[i])(values, index)


def _likeliest(logits: Array, top_p: float) -> Array:
    """Sets logits [B, vocab_size] to -inf except the most likely, which together reach `top_p`."""
    if top_p == 1.0:
        return logits
    ordered = jnp.sort(logits, axis=-1, descending=True)
    probabilities = jax.nn.softmax(ordered)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    least = jnp.where(before < top_p, ordered, jnp.inf).min(axis=-1, keepdims=True)
    return jnp.where(logits < least, -jnp.inf, logits)
