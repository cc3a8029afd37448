"""Unpadding keeps the chosen rows in order, and its gradients equal those of indexing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vtmask import unpadding

CHOSEN = np.random.default_rng(0).random((4, 6)) < 0.4
X = np.random.default_rng(1).standard_normal((4, 6, 3)).astype(np.float32)


def test_chosen_positions_are_gathered_and_scattered_back() -> None:
    selection = unpadding.select(jnp.array(CHOSEN), 16)
    gathered = selection.gather(jnp.array(X))
    assert gathered.shape == (1, 16, 3)
    count = CHOSEN.sum()
    np.testing.assert_array_equal(gathered[0, :count], X[CHOSEN])
    assert not gathered[0, count:].any()
    np.testing.assert_array_equal(selection.scatter(gathered), np.where(CHOSEN[..., None], X, 0))
    assert selection.gather(jnp.array(CHOSEN)).dtype == bool


@pytest.mark.parametrize("slots", [0, 24])
def test_no_slots_and_all_slots(slots: int) -> None:
    selection = unpadding.select(jnp.full_like(CHOSEN, bool(slots)), slots)
    assert selection.gather(jnp.array(X)).shape == (1, slots, 3)


def test_gradients_equal_those_of_indexing() -> None:
    selection = unpadding.select(jnp.array(CHOSEN), 16)
    weight = jax.random.normal(jax.random.key(0), (16, 3))

    def gathered(x: jax.Array) -> jax.Array:
        return (selection.scatter(selection.gather(x) ** 2 * weight) ** 3).sum()

    def indexed(x: jax.Array) -> jax.Array:
        return ((x[CHOSEN] ** 2 * weight[: CHOSEN.sum()]) ** 3).sum()

    np.testing.assert_allclose(
        jax.grad(gathered)(jnp.array(X)), jax.grad(indexed)(jnp.array(X)), rtol=1e-5
    )


def test_slots_are_rounded_up_to_tiles_but_not_beyond_all_positions() -> None:
    assert unpadding.num_slots(0.5, 100) == 56
    assert unpadding.num_slots(1.0, 100) == 100
    assert unpadding.num_slots(0.5, 10_000) == 5120
    assert unpadding.num_slots(1.0, 10_000) == 10_000


def test_most_chosen_counts_the_largest_group() -> None:
    assert unpadding.most_chosen(jnp.array(CHOSEN)) == CHOSEN.sum()
