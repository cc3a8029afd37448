"""The blockwise softmax has the loss and gradients of the full softmax, in less memory."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vtmask import losses
from vtmask.losses import Candidates, Queries


def problem(size: int = 10, number: int = 30, width: int = 8) -> tuple[Queries, Candidates]:
    """Makes weighted queries and candidates. Half of these are closed, including some labels."""
    rng = np.random.default_rng(0)
    queries = (
        rng.standard_normal((2, size, width), np.float32),
        rng.integers(0, number, (2, size)),
        rng.random((2, size), np.float32) * (rng.random((2, size)) < 0.8),
        np.where(rng.random((2, size)) < 0.5, 0.0, -np.inf).astype(np.float32),
    )
    candidates = (
        rng.standard_normal((2, number, width), np.float32),
        rng.random((2, number)) < 0.5,
        rng.standard_normal(number, np.float32),
    )
    return Queries(*map(jnp.asarray, queries)), Candidates(*map(jnp.asarray, candidates))


def full_softmax(queries: Queries, candidates: Candidates) -> tuple[jax.Array, jax.Array]:
    logits = jnp.einsum("gmh,gch->gmc", queries.hidden, candidates.embeddings) + candidates.bias
    number = logits.shape[-1]
    allowed = candidates.open[:, None] | jax.nn.one_hot(queries.label, number, dtype=bool)
    logits = jnp.where(allowed, logits, -jnp.inf)
    logits = jnp.concatenate([logits, queries.constant[..., None]], axis=-1)
    logs = jax.nn.log_softmax(logits)
    each = -jnp.take_along_axis(logs, queries.label[..., None], axis=-1)[..., 0]
    return (each * queries.weight).sum(), each


@pytest.mark.parametrize("scores_at_a_time", [2**26, 150, 30])
def test_loss_and_gradients_equal_those_of_the_full_softmax(
    monkeypatch: Any, scores_at_a_time: int
) -> None:
    monkeypatch.setattr(losses, "BLOCK_SCORES", scores_at_a_time)
    queries, candidates = problem()

    def loss_and_gradients(function: Any) -> Any:
        def loss(hidden: Any, embeddings: Any, bias: Any) -> Any:
            total, each = function(
                queries._replace(hidden=hidden),
                candidates._replace(embeddings=embeddings, bias=bias),
            )
            return 3 * total, each

        arguments = (queries.hidden, candidates.embeddings, candidates.bias)
        return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(*arguments)

    jax.tree.map(
        lambda ours, expected: np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6),
        loss_and_gradients(losses.cross_entropy),
        loss_and_gradients(full_softmax),
    )
    np.testing.assert_allclose(
        losses.cross_entropy(queries, candidates)[1],
        full_softmax(queries, candidates)[1],
        rtol=1e-5,
    )


def test_16_bit_products_have_sizes_divisible_by_eight() -> None:
    queries, candidates = problem()
    number = candidates.open.shape[1]
    assert number % 8

    def loss_and_gradients(function: Any) -> Any:
        def loss(hidden: Any, embeddings: Any) -> Any:
            rounded = queries._replace(hidden=hidden.astype(jnp.bfloat16))
            return function(rounded, candidates._replace(embeddings=embeddings))[0]

        return jax.jit(jax.value_and_grad(loss, (0, 1)))

    ours, arguments = (
        loss_and_gradients(losses.cross_entropy),
        (queries.hidden, candidates.embeddings),
    )
    products = re.findall(r"dot_general.* : \((.*)\) ->", ours.lower(*arguments).as_text())
    sizes = {int(size) for size in re.findall(r"(\d+)x", " ".join(products))}
    assert sizes and number not in sizes and 8 * math.ceil(number / 8) in sizes
    jax.tree.map(
        lambda ours, expected: np.testing.assert_allclose(ours, expected, rtol=0.05, atol=0.02),
        ours(*arguments),
        loss_and_gradients(full_softmax)(*arguments),
    )


def test_memory_does_not_grow_with_queries_times_candidates(monkeypatch: Any) -> None:
    monkeypatch.setattr(losses, "BLOCK_SCORES", 2**12)
    queries, candidates = problem(size=512, number=2048)

    def memory(function: Any) -> int:
        def loss(hidden: Any, embeddings: Any) -> Any:
            return function(
                queries._replace(hidden=hidden), candidates._replace(embeddings=embeddings)
            )[0]

        gradient = jax.jit(jax.grad(loss, (0, 1)))
        plan = gradient.lower(queries.hidden, candidates.embeddings).compile().memory_analysis()
        assert plan
        return plan.temp_size_in_bytes

    matrix = 2 * 512 * 2048 * 4
    assert memory(losses.cross_entropy) < matrix / 10
    assert memory(full_softmax) > matrix


def test_contrastive_is_the_cross_entropy_of_each_row() -> None:
    video, text = jax.random.normal(jax.random.key(0), (2, 6, 8))
    expected = float(-jnp.diag(jax.nn.log_softmax(text @ video.T)).mean())
    for negatives in losses.NEGATIVES:
        actual = losses.contrastive(text, video, negatives)
        assert actual == pytest.approx(expected, rel=1e-5)
