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
    """Closes half of the candidates, some queries' labels among them; weights differ."""
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


def in_one(queries: Queries, candidates: Candidates) -> tuple[jax.Array, jax.Array]:
    found = jnp.einsum("gmh,gch->gmc", queries.hidden, candidates.embeddings) + candidates.bias
    number = found.shape[-1]
    allowed = candidates.open[:, None] | jax.nn.one_hot(queries.label, number, dtype=bool)
    found = jnp.where(allowed, found, -jnp.inf)
    found = jnp.concatenate([found, queries.constant[..., None]], axis=-1)
    logs = jax.nn.log_softmax(found)
    each = -jnp.take_along_axis(logs, queries.label[..., None], axis=-1)[..., 0]
    return (each * queries.weight).sum(), each


@pytest.mark.parametrize("scores_at_a_time", [2**26, 150, 30])
def test_loss_and_gradients(monkeypatch: Any, scores_at_a_time: int) -> None:
    monkeypatch.setattr(losses, "BLOCK_SCORES", scores_at_a_time)
    queries, candidates = problem()

    def of(function: Any) -> Any:
        def loss(hidden: Any, embeddings: Any, bias: Any) -> Any:
            total, each = function(
                queries._replace(hidden=hidden),
                candidates._replace(embeddings=embeddings, bias=bias),
            )
            return 3 * total, each

        arguments = (queries.hidden, candidates.embeddings, candidates.bias)
        return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(*arguments)

    jax.tree.map(
        lambda ours, right: np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-6),
        of(losses.cross_entropy),
        of(in_one),
    )
    np.testing.assert_allclose(
        losses.cross_entropy(queries, candidates)[1], in_one(queries, candidates)[1], rtol=1e-5
    )


def test_products_of_16_bits_are_of_eights() -> None:
    queries, candidates = problem()
    number = candidates.open.shape[1]
    assert number % 8

    def of(function: Any) -> Any:
        def loss(hidden: Any, embeddings: Any) -> Any:
            rounded = queries._replace(hidden=hidden.astype(jnp.bfloat16))
            return function(rounded, candidates._replace(embeddings=embeddings))[0]

        return jax.jit(jax.value_and_grad(loss, (0, 1)))

    ours, arguments = of(losses.cross_entropy), (queries.hidden, candidates.embeddings)
    products = re.findall(r"dot_general.* : \((.*)\) ->", ours.lower(*arguments).as_text())
    model_config = {int(size) for size in re.findall(r"(\d+)x", " ".join(products))}
    assert model_config and number not in model_config and 8 * math.ceil(number / 8) in model_config
    jax.tree.map(
        lambda ours, right: np.testing.assert_allclose(ours, right, rtol=0.05, atol=0.02),
        ours(*arguments),
        of(in_one)(*arguments),
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
    assert memory(in_one) > matrix


def test_contrastive_is_the_cross_entropy_of_each_row() -> None:
    video, text = jax.random.normal(jax.random.key(0), (2, 6, 8))
    right = float(-jnp.diag(jax.nn.log_softmax(text @ video.T)).mean())
    for negatives in losses.NEGATIVES:
        found = losses.contrastive(text, video, negatives)
        assert found == pytest.approx(right, rel=1e-5)
