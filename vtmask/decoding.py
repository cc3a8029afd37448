"""Sequences from a model that scores the next token: beam search and sampling.

Neither knows the model. They call `step`, a function of

- `tokens`: int [B, K], the last token of each of K beams;
- `position`: int [], 0 for the start token;
- `paths`: bool [B, K, N, K], True at [b, k, t, j] where the token that beam j had at position t is
  on the way of beam k, `tokens` (at t = `position`) included;
- `cache`: arrays of the model's own, whatever it keeps of earlier calls;

which returns logits [B, K, vocab_size], float32, of the next token, and the cache. What a model
keeps of a token stays where it is written when beams change places: `paths` alone is reordered, and
tells a model with attention which of the B * N * K tokens a beam sees.
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
    """What is looked for.

    Attributes:
      start_id, end_id, pad_id: of the token before the first, of the last, and after the last.
      max_tokens: N, tokens a sequence at most, `end_id` included where it comes.
      length_penalty: sequences are ranked by the sum of their tokens' log-probabilities, that of
        `end_id` included, divided by length ** length_penalty.
      prompt_length: what a length counts besides the tokens before `end_id`, at least 1.
    """

    start_id: int
    end_id: int
    pad_id: int
    max_tokens: int
    length_penalty: float = 1.0
    prompt_length: int = 1

    def ranked(self, sums: Array, num_tokens: Array | int) -> Array:
        """Scores from sums of log-probabilities and the number of tokens before `end_id`."""
        length = jnp.asarray(self.prompt_length + num_tokens, jnp.float32)
        return sums / length**self.length_penalty


class _Beams(NamedTuple):
    """The state of a beam search before the token at `position` is fed.

    Attributes:
      position: int [].
      tokens, sums, paths: of open beams, [B, K, N], [B, K] and [B, K, N, K].
      last: what to feed, [B, K].
      finished, scores: the best finished sequences and their scores, best first; [B, K, N], [B, K],
        -inf where there is none.
      done: where nothing better will come, [B].
      cache: the model's.
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


def beam_search(
    step: Step, cache: Any, batch_size: int, wanted: Sequences, num_beams: int
) -> tuple[Array, Array]:
    """The best sequences a beam search finds; with one beam, the greedy ones.

    Follows the published model's search (`generate` of Hugging Face transformers 3.4 without early
    stopping): of the 2K best continuations of K beams, those that end among the first K are
    finished, and the best K others stay open. A search is done when it has K finished sequences
    of which the worst beats the best continuation's score at its present length; at `max_tokens`,
    open beams compete with finished ones as they are.

    Args:
      step, cache: see the module.
      batch_size: B.
      num_beams: K.

    Returns:
      ids int32 [B, max_tokens] of the best sequence of each search, padded, and scores [B].
    """
    size, end = (batch_size, num_beams), wanted.max_tokens

    def body(state: _Beams) -> _Beams:
        t = state.position
        paths = state.paths.at[:, :, t].set(jnp.eye(num_beams, dtype=bool))
        logits, cache = step(state.last, t, paths, state.cache)
        sums, parents, tokens = _continuations(state.sums, logits, 2 * num_beams)
        ended = tokens == wanted.end_id
        written = _take(state.tokens, parents).at[:, :, t].set(tokens)

        scores = wanted.ranked(sums, t)
        counts = ended[:, :num_beams] & ~state.done[:, None]
        finished, best = _best(
            jnp.concatenate([state.finished, written[:, :num_beams]], axis=1),
            jnp.concatenate(
                [state.scores, jnp.where(counts, scores[:, :num_beams], -jnp.inf)], axis=1
            ),
            num_beams,
        )
        kept = jnp.argsort(ended, axis=1, stable=True)[:, :num_beams]
        last = _take(tokens, kept)
        return _Beams(
            position=t + 1,
            tokens=_take(written, kept),
            sums=_take(sums, kept),
            paths=_take(paths, _take(parents, kept)),
            last=last,
            finished=finished,
            scores=best,
            done=state.done | (best[:, -1] >= scores[:, 0]),
            cache=cache,
        )

    state = jax.lax.while_loop(
        lambda state: (state.position < end) & ~state.done.all(),
        body,
        _Beams(
            position=jnp.zeros((), jnp.int32),
            tokens=jnp.full((*size, end), wanted.pad_id, jnp.int32),
            sums=jnp.full(size, UNUSED).at[:, 0].set(0.0),
            paths=jnp.zeros((*size, end, num_beams), bool),
            last=jnp.full(size, wanted.start_id, jnp.int32),
            finished=jnp.full((*size, end), wanted.pad_id, jnp.int32),
            scores=jnp.full(size, -jnp.inf),
            done=jnp.zeros(batch_size, bool),
            cache=cache,
        ),
    )
    cut = jnp.where(state.done[:, None], -jnp.inf, wanted.ranked(state.sums, end))
    ids, scores = _best(
        jnp.concatenate([state.finished, state.tokens], axis=1),
        jnp.concatenate([state.scores, cut], axis=1),
        1,
    )
    return ids[:, 0], scores[:, 0]


def sample(
    step: Step,
    cache: Any,
    batch_size: int,
    wanted: Sequences,
    key: Array,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> tuple[Array, Array]:
    """Sequences drawn token by token.

    Args:
      step, cache, batch_size: as in `beam_search`, with one beam.
      temperature: logits are divided by it.
      top_p: only the likeliest tokens that together have this probability are drawn.

    Returns:
      ids int32 [B, max_tokens], padded, and scores [B], of the model's own probabilities.
    """

    def body(state: tuple) -> tuple:
        t, last, ids, sums, lengths, done, cache = state
        logits, cache = step(last[:, None], t, paths_until(t), cache)
        logits = logits[:, 0]
        drawn = jax.random.categorical(
            jax.random.fold_in(key, t), _likeliest(logits / temperature, top_p)
        ).astype(jnp.int32)
        gained = jnp.take_along_axis(jax.nn.log_softmax(logits), drawn[:, None], axis=1)[:, 0]
        ids = ids.at[:, t].set(jnp.where(done, wanted.pad_id, drawn))
        sums = jnp.where(done, sums, sums + gained)
        done |= drawn == wanted.end_id
        return t + 1, drawn, ids, sums, lengths + ~done, done, cache

    def paths_until(t: Array) -> Array:
        seen = jnp.arange(wanted.max_tokens) <= t
        return jnp.broadcast_to(seen[:, None], (batch_size, 1, wanted.max_tokens, 1))

    _, _, ids, sums, lengths, _, _ = jax.lax.while_loop(
        lambda state: (state[0] < wanted.max_tokens) & ~state[5].all(),
        body,
        (
            jnp.zeros((), jnp.int32),
            jnp.full(batch_size, wanted.start_id, jnp.int32),
            jnp.full((batch_size, wanted.max_tokens), wanted.pad_id, jnp.int32),
            jnp.zeros(batch_size),
            jnp.zeros(batch_size, jnp.int32),
            jnp.zeros(batch_size, bool),
            cache,
        ),
    )
    return ids, wanted.ranked(sums, lengths)


def _continuations(sums: Array, logits: Array, count: int) -> tuple[Array, Array, Array]:
    """The `count` best next tokens of all beams together, best first: [B, K], [B, K, vocab_size] ->
    sums of log-probabilities, parent beams and tokens, [B, count] each."""
    top, tokens = jax.lax.top_k(logits, min(count, logits.shape[-1]))
    top = top - jax.nn.logsumexp(logits, axis=-1, keepdims=True) + sums[..., None]
    sums, index = jax.lax.top_k(top.reshape(len(top), -1), count)
    tokens = jnp.take_along_axis(tokens.reshape(len(top), -1), index, axis=1)
    return sums, index // top.shape[-1], tokens


def _best(sequences: Array, scores: Array, count: int) -> tuple[Array, Array]:
    """The `count` sequences [B, S, N] of the highest scores [B, S], best first, and these."""
    scores, index = jax.lax.top_k(scores, count)
    return _take(sequences, index), scores


def _take(values: Array, index: Array) -> Array:
    """Entries of axis 1 by row: [B, K, ...], [B, S] -> [B, S, ...]."""
    return jax.vmap(lambda row, i: row[i])(values, index)


def _likeliest(logits: Array, top_p: float) -> Array:
    """Logits [B, vocab_size], -inf but for the likeliest that together have probability `top_p`."""
    if top_p == 1.0:
        return logits
    ordered = jnp.sort(logits, axis=-1, descending=True)
    probabilities = jax.nn.softmax(ordered)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    least = jnp.where(before < top_p, ordered, jnp.inf).min(axis=-1, keepdims=True)
    return jnp.where(logits < least, -jnp.inf, logits)
