"""Dropout has its rate and does not depend on where rows are placed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from vtmask.models.dropout import dropout
from vtmask.unpadding import Selection, select

X = jnp.ones((64, 50, 30))


def drop(x: Array, selection: Selection | None = None, seed: int = 0, rate: float = 0.1) -> Any:
    return dropout(x, rate, jax.random.key(seed), selection)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_entries_are_dropped_at_the_rate_and_independently(rate: float) -> None:
    dropped = np.asarray(drop(X, rate=rate))
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / (1 - rate)], rtol=1e-6)
    lost = dropped == 0
    for axis in [(0, 1, 2), (0, 1), (0, 2), (1, 2)]:
        size = np.prod([X.shape[i] for i in axis])
        spread = (rate * (1 - rate) / size) ** 0.5
        np.testing.assert_allclose(lost.mean(axis), rate, atol=5 * spread)
    rows = lost.reshape(-1, 30).astype(float)
    between = np.corrcoef(rows.T) - np.eye(30)
    np.testing.assert_allclose(between, 0, atol=5 / len(rows) ** 0.5)


def test_rows_and_keys_are_independent() -> None:
    lost = np.stack([np.asarray(drop(X, seed=seed) == 0).reshape(-1, 30) for seed in range(20)])
    centred = lost - lost.mean()
    for shift in ((0, 1, 0), (1, 0, 0), (0, 1, 1), (0, 50, 0), (1, 1, 1)):
        together = (centred * np.roll(centred, shift, (0, 1, 2))).mean() / centred.var()
        assert abs(together) < 5 / lost.size**0.5


def test_gathered_rows_lose_the_same_entries_as_in_place() -> None:
    chosen = jax.random.bernoulli(jax.random.key(1), 0.5, X.shape[:2])
    selection = select(chosen, 2000)
    expected = jnp.where(chosen[..., None], drop(X), 0)
    np.testing.assert_array_equal(selection.scatter(drop(selection.gather(X), selection)), expected)


def test_another_key_drops_other_entries() -> None:
    both = (drop(X) == 0) & (drop(X, seed=1) == 0)
    assert float(both.mean()) == pytest.approx(0.01, abs=0.002)


def test_nothing_is_dropped_without_a_rate_or_in_evaluation() -> None:
    assert drop(X, rate=0.0) is X
    assert dropout(X, 0.5, None) is X
