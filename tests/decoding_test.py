"""Decoding is tested on made-up distributions, in which a token depends on all earlier ones."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vtmask import decoding
from vtmask.decoding import Sequences

VOCAB, END, PAD = 4, 3, 9


class Toy:
    """Log-probabilities of the token after each history of up to `length` - 1 tokens."""

    def __init__(self, seed: int, length: int, batch_size: int = 3):
        rng = np.random.default_rng(seed)
        # An index is 1 + token, or 0 if there is no token.
        shape = (batch_size, *(VOCAB + 1,) * (length - 1), VOCAB)
        self.table = np.asarray(jax.nn.log_softmax(rng.standard_normal(shape, np.float32)))
        self.length = length

    def after(self, row: int, history: tuple[int, ...]) -> np.ndarray:
        index = [1 + token for token in history] + [0] * (self.length - 1 - len(history))
        return self.table[row, *index]

    def search(self, decode: Callable, rules: Sequences, **settings: Any) -> Any:
        table, rows = jnp.asarray(self.table), jnp.arange(len(self.table))[:, None]

        def step(tokens: Any, position: Any, paths: Any, cache: Any) -> Any:
            cache = cache.at[:, position].set(1 + tokens)
            history = (paths * cache[:, None]).sum(axis=-1)
            return table[rows, *jnp.moveaxis(history, -1, 0)], cache

        cache = jnp.zeros((len(table), self.length - 1, settings.get("num_beams", 1)), jnp.int32)
        first = table[:, *[0] * (self.length - 1)]
        ids, scores = jax.jit(lambda: decode(step, first, cache, rules, **settings))()
        return np.asarray(ids), np.asarray(scores)

    def total(self, row: int, tokens: tuple[int, ...]) -> float:
        return sum(self.after(row, tokens[:i])[token] for i, token in enumerate(tokens))


def rules_for(length: int, penalty: float = 1.0, prompt: int = 1) -> Sequences:
    return Sequences(END, PAD, length, length_penalty=penalty, prompt_length=prompt)


def sequences(length: int) -> list[tuple[int, ...]]:
    """Returns all sequences that end with END, and all that are cut off at `length`."""
    words = [token for token in range(VOCAB) if token != END]
    ended = [(*head, END) for n in range(length) for head in itertools.product(words, repeat=n)]
    return ended + list(itertools.product(words, repeat=length))


def tokens_of(ids: np.ndarray) -> tuple[int, ...]:
    """Returns the tokens before the padding."""
    kept = [int(token) for token in ids if token != PAD]
    assert list(ids[: len(kept)]) == kept
    return tuple(kept)


def ranked(toy: Toy, row: int, tokens: tuple[int, ...], rules: Sequences) -> float:
    length = rules.prompt_length + len(tokens) - (tokens[-1] == END)
    return toy.total(row, tokens) / length**rules.length_penalty


@pytest.mark.parametrize("penalty", [0.0, 1.0, 3.0])
def test_enough_beams_find_the_best_sequence(penalty: float) -> None:
    toy, rules = Toy(0, length=3, batch_size=8), rules_for(3, penalty)
    ids, scores = toy.search(decoding.beam_search, rules, num_beams=VOCAB**3)
    for row in range(8):
        best = max(sequences(3), key=lambda tokens: ranked(toy, row, tokens, rules))
        assert tokens_of(ids[row]) == best
        assert scores[row] == pytest.approx(ranked(toy, row, best, rules), rel=1e-5)


def search_by_hand(toy: Toy, row: int, rules: Sequences, num_beams: int) -> tuple[int, ...]:
    """Implements the search of `beam_search` with lists."""
    beams: list[tuple[int, ...]] = [()]
    finished: list[tuple[float, tuple[int, ...]]] = []
    for t in range(rules.max_tokens):
        candidates = [
            (toy.total(row, (*beam, token)), (*beam, token))
            for beam in beams
            for token in range(VOCAB)
        ]
        candidates = sorted(candidates, reverse=True)[: 2 * num_beams]
        finished += [
            (ranked(toy, row, tokens, rules), tokens)
            for _, tokens in candidates[:num_beams]
            if tokens[-1] == END
        ]
        finished = sorted(finished, reverse=True)[:num_beams]
        best = candidates[0][0] / (rules.prompt_length + t) ** rules.length_penalty
        if len(finished) == num_beams and finished[-1][0] >= best:
            return finished[0][1]
        beams = [tokens for _, tokens in candidates if tokens[-1] != END][:num_beams]
    return max(finished + [(ranked(toy, row, tokens, rules), tokens) for tokens in beams])[1]


@pytest.mark.parametrize("num_beams", [1, 2, 5])
@pytest.mark.parametrize("seed", range(2))
def test_beam_search_agrees_with_a_search_by_hand(num_beams: int, seed: int) -> None:
    toy = Toy(seed, length=6, batch_size=12)
    for rules in (rules_for(6), rules_for(6, penalty=0.5, prompt=3), rules_for(6, penalty=2.0)):
        ids, scores = toy.search(decoding.beam_search, rules, num_beams=num_beams)
        for row in range(12):
            tokens = tokens_of(ids[row])
            assert tokens == search_by_hand(toy, row, rules, num_beams)
            assert scores[row] == pytest.approx(ranked(toy, row, tokens, rules), rel=1e-5)


def test_one_beam_is_greedy() -> None:
    toy = Toy(1, length=5, batch_size=12)
    ids, _ = toy.search(decoding.beam_search, rules_for(5), num_beams=1)
    for row in range(12):
        tokens: tuple[int, ...] = ()
        while len(tokens) < 5 and END not in tokens:
            tokens += (int(toy.after(row, tokens).argmax()),)
        assert tokens_of(ids[row]) == tokens


@pytest.mark.parametrize(
    ("decode", "settings"),
    [(decoding.beam_search, {"num_beams": 1}), (decoding.sample, {"key": jax.random.key(0)})],
)
def test_the_model_is_not_called_when_all_sequences_have_ended(
    decode: Callable, settings: dict[str, Any]
) -> None:
    calls = []

    def step(tokens: Any, position: Any, paths: Any, cache: Any) -> Any:
        jax.debug.callback(lambda t: calls.append(int(t)), position)
        return jnp.broadcast_to(sure(jnp.where(position < 1, 0, END)), (2, 1, VOCAB)), cache

    def sure(token: Any) -> Any:
        return jnp.where(jnp.arange(VOCAB) == token, 50.0, -50.0)

    first = jnp.broadcast_to(sure(1), (2, VOCAB))
    ids, _ = decode(step, first, (), rules_for(10), **settings)
    jax.effects_barrier()
    np.testing.assert_array_equal(ids, [[1, 0, END] + [PAD] * 7] * 2)
    assert sorted(calls) == [0, 1]


def draw(toy: Toy, seed: int = 0, **settings: float) -> tuple[list[tuple[int, ...]], np.ndarray]:
    key = jax.random.key(seed)
    ids, scores = toy.search(decoding.sample, rules_for(3), key=key, **settings)
    return [tokens_of(row) for row in ids], scores


def many(seed: int) -> Toy:
    """Repeats one distribution in enough rows to estimate it from samples."""
    toy = Toy(seed, length=3, batch_size=1)
    toy.table = np.repeat(toy.table, 20_000, axis=0)
    return toy


def test_samples_follow_the_distribution_and_their_key() -> None:
    toy = many(0)
    drawn, scores = draw(toy)
    for tokens in sequences(3):
        expected = np.exp(toy.total(0, tokens))
        assert drawn.count(tokens) / len(drawn) == pytest.approx(expected, abs=0.012)
    for tokens, score in zip(drawn[:50], scores[:50], strict=True):
        assert score == pytest.approx(ranked(toy, 0, tokens, rules_for(3)), rel=1e-5)
    assert draw(toy)[0] == drawn
    assert draw(toy, seed=1)[0] != drawn


def test_temperature_sharpens_and_flattens() -> None:
    toy = many(1)
    for temperature in (0.5, 2.0):
        firsts = np.array([tokens[0] for tokens in draw(toy, temperature=temperature)[0]])
        expected = jax.nn.softmax(toy.after(0, ()) / temperature)
        np.testing.assert_allclose(np.bincount(firsts) / len(firsts), expected, atol=0.012)


def test_top_p_draws_only_the_likeliest_tokens() -> None:
    toy = many(2)
    probabilities = np.exp(toy.after(0, ()))
    order = np.argsort(-probabilities)
    enough = float(probabilities[order[:2]].sum())
    for top_p, kept in ((enough - 0.01, order[:2]), (enough + 0.01, order[:3]), (1e-6, order[:1])):
        firsts = np.array([tokens[0] for tokens in draw(toy, top_p=top_p)[0]])
        expected = np.where(np.isin(range(VOCAB), kept), probabilities, 0)
        actual = np.bincount(firsts, minlength=VOCAB) / len(firsts)
        np.testing.assert_allclose(actual, expected / expected.sum(), atol=0.012)
