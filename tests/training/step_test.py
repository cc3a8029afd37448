"""Optimisations of a step leave its losses, gradients and metrics unchanged."""

import dataclasses
import functools
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import synthetic
from ml_collections import ConfigDict

from vtmask.errors import UserError
from vtmask.models import VLM, VLMConfig, initial_params
from vtmask.tasks import Pretrain, Retrieval
from vtmask.training import make_train_step, sharding
from vtmask.training.optimizer import make_optimizer
from vtmask.training.step import initial_state, make_chooser

BATCH = synthetic.SyntheticBatches().batch(0)
BUDGETS = ((0.2, 0.2, 0.2), (0.9, 0.7, 0.9))


@functools.cache
def step(
    task: Any, model_config: VLMConfig = synthetic.CALM, microbatches: int = 1
) -> tuple[Any, dict[str, float]]:
    """Returns the updates and metrics of one step of plain gradient descent."""
    model, optimizer = VLM(model_config), optax.sgd(1.0)
    mesh = sharding.make_mesh()
    params = initial_params(VLM(synthetic.CALM), 0)
    state = initial_state(params, optimizer, mesh, fsdp=False)
    train_step = make_train_step(
        model, task, optimizer, lambda _: 1.0, 0, mesh, False, microbatches
    )
    batch = sharding.put_batch(BATCH, mesh)
    program = int(make_chooser(model, task, 0, mesh, microbatches)(batch, 0))
    new, metrics = train_step(state, batch, program)
    updates = jax.tree.map(lambda a, b: np.asarray(a - b), new.params, params)
    return updates, {name: float(value) for name, value in metrics.items()}


def assert_same(actual: Any, expected: Any) -> None:
    norm = optax.tree.norm(expected[0])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * norm),
        actual[0],
        expected[0],
    )
    for name, value in expected[1].items():
        assert actual[1][name] == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("objective", ["mtm", "mfm_mlm"])
def test_a_packed_batch_has_the_update_of_the_padded_one(objective: Any) -> None:
    padded = step(Pretrain(objective=objective))
    packed = step(Pretrain(objective=objective, budgets=BUDGETS))
    assert packed[1]["budget"] == 1
    assert_same(packed, padded)


def test_a_batch_that_no_budget_holds_is_padded_and_its_dropout_is_the_same() -> None:
    model_config = dataclasses.replace(synthetic.CALM, dropout_rate=0.1)
    padded = step(Pretrain(budgets=BUDGETS[:1]), model_config)
    assert padded[1]["budget"] == 1
    assert_same(padded, step(Pretrain(), model_config))


@pytest.mark.parametrize(
    ("too_small", "fits"), [((0.2, 1, 1), 1), ((1, 0.1, 1), 1), ((1, 1, 0.2), 1), ((1, 1, 1), 0)]
)
def test_a_budget_fits_if_it_holds_positions_masks_and_frames(too_small: Any, fits: int) -> None:
    task = Pretrain(budgets=(too_small,))
    held = task.fits(VLM(synthetic.CALM), BATCH, jax.random.key(0))
    assert held.tolist() == [fits == 0, True]


def test_microbatches_in_budgets_have_the_update_of_padded_ones() -> None:
    """Each needs its own masks to choose a program, which must hold both."""
    tight = Pretrain(budgets=((1, 0.15, 1), (1, 0.2, 1)))
    in_parts = step(tight, microbatches=2)
    assert in_parts[1]["budget"] == 1
    assert_same(in_parts, step(Pretrain(), microbatches=2))


@pytest.mark.parametrize(
    ("budgets", "microbatches", "fits"),
    [
        (((1, 1, 0.5),), 1, 0),
        (((1, 1, 0.5),), 2, 1),  # the budget holds the complete batch, but not its second half
        (((0.55, 1, 1), (1, 1, 0.5)), 2, 2),  # each budget holds a half
    ],
)
def test_a_program_must_fit_each_microbatch(budgets: Any, microbatches: int, fits: int) -> None:
    """Only the second half of the clips has frames, and only the first half has text."""
    half = len(BATCH["text"]) // 2
    batch = BATCH | {
        "video_mask": jnp.ones_like(BATCH["video_mask"]).at[:half].set(False),
        "text_mask": jnp.ones_like(BATCH["text_mask"]).at[half:].set(False),
    }
    mesh = sharding.make_mesh()
    choose = make_chooser(VLM(synthetic.CALM), Pretrain(budgets=budgets), 0, mesh, microbatches)
    assert choose(sharding.put_batch(batch, mesh), 0) == fits


@pytest.mark.parametrize("remat", ["none", "products", "all"])
def test_scanned_layers_have_the_same_update(remat: str) -> None:
    model_config = dataclasses.replace(synthetic.CALM, num_layers=4)
    scanned = dataclasses.replace(model_config, scan_layers=True, remat=remat)
    fused = dataclasses.replace(scanned, fused_attention=True)
    results = [gradients(model_config, which) for which in (model_config, scanned, fused)]
    for other in results[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), other, results[0]
        )


@functools.cache
def gradients(fresh: VLMConfig, model_config: VLMConfig) -> Any:
    """Returns gradients of retrieval, whose mask differs by layer."""
    params = initial_params(VLM(fresh), 0)
    task = Retrieval(2)

    def loss(params: Any) -> Any:
        def of_model(model: VLM) -> jax.Array:
            video, text = task.encoding.embed_pairs(model, BATCH, deterministic=True)
            return (video * text).sum() / len(video)

        return VLM(model_config).apply({"params": params}, method=of_model)

    return jax.jit(jax.grad(loss))(params)


def test_a_gpu_s_programs_multiply_bfloat16_and_donate_the_old_state() -> None:
    model_config = dataclasses.replace(synthetic.CONFIG, dtype="bfloat16")
    optimizer, mesh = optax.adam(1.0), sharding.make_mesh()
    state = initial_state(initial_params(VLM(model_config), 0), optimizer, mesh, fsdp=False)
    task = Pretrain(budgets=BUDGETS)
    train_step = make_train_step(VLM(model_config), task, optimizer, lambda _: 1.0, 0, mesh)
    for program in range(len(BUDGETS) + 1):
        traced = train_step.trace(state, sharding.put_batch(BATCH, mesh), program)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
        products = re.findall(r"dot_general.* : \((.*)\) ->", text)
        assert len(products) > 6 * model_config.num_layers
        assert all(product.count("xbf16>") == 2 for product in products)
        assert text.count("tf.aliasing_output") == len(jax.tree.leaves(state))


def test_a_single_layer_is_not_scanned() -> None:
    scanned = dataclasses.replace(synthetic.CALM, scan_layers=True)
    results = [
        synthetic.loss(Retrieval(1), model_config, BATCH)
        for model_config in (synthetic.CALM, scanned)
    ]
    assert results[0] == results[1]


def test_remat_needs_a_scan() -> None:
    with pytest.raises(UserError, match="config.model.remat is all, which needs"):
        dataclasses.replace(synthetic.CONFIG, remat="all")


def test_microbatches_average_their_gradients() -> None:
    loss = nn.apply(Retrieval(2).loss, VLM(synthetic.CALM))
    params = initial_params(VLM(synthetic.CALM), 0)

    @jax.jit
    def of_part(part: Any) -> Any:
        rngs = {"dropout": jax.random.key(0)}
        key = jax.random.key(0)
        return jax.grad(lambda params: loss({"params": params}, part, key, rngs=rngs)[0])(params)

    parts = [{name: x[rows] for name, x in BATCH.items()} for rows in (slice(8), slice(8, 16))]
    expected = jax.tree.map(lambda a, b: (a + b) / 2, *map(of_part, parts))
    updates, _ = step(Retrieval(2), microbatches=2)
    updates = jax.tree.map(jnp.negative, updates)
    norm = optax.tree.norm(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * norm),
        updates,
        expected,
    )


def test_budgets_must_be_shares() -> None:
    with pytest.raises(UserError, match=r"config.task.budgets has \(0.5, 1.5, 1\)"):
        Pretrain(budgets=((0.5, 1.5, 1),))


OPTIM = {"clip_norm": 1.0, "b1": 0.9, "b2": 0.98, "eps": 1e-8, "weight_decay": 0.1}
PARAMS = {"video": {"video_mlp": {"in": {"kernel": jnp.ones((2, 2))}}}, "words": jnp.ones((2, 2))}


def update(factors: tuple[tuple[str, float], ...]) -> Any:
    optimizer = make_optimizer(ConfigDict({**OPTIM, "factors": factors}), lambda _: 1e-2)
    return optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)[0]


def test_parts_of_a_model_may_have_other_learning_rates() -> None:
    plain, scaled = update(()), update((("video_mlp", 20.0),))
    np.testing.assert_array_equal(scaled["words"], plain["words"])
    kernels = [updates["video"]["video_mlp"]["in"]["kernel"] for updates in (scaled, plain)]
    np.testing.assert_allclose(kernels[0], 20 * kernels[1], rtol=1e-6)
    assert (kernels[1] != 0).all()


def test_adam_s_first_moment_can_be_bfloat16() -> None:
    updates = []
    for dtype in ("float32", "bfloat16"):
        config = ConfigDict({**OPTIM, "mu_dtype": dtype})
        optimizer = make_optimizer(config, lambda _: 1e-2)
        state = optimizer.init(PARAMS)
        _, state = optimizer.update(PARAMS, state, PARAMS)
        gradients = jax.tree.map(lambda x: -x / 3, PARAMS)
        of_second, state = optimizer.update(gradients, state, PARAMS)
        updates.append(of_second)
        adam = state[1]
        assert {leaf.dtype for leaf in jax.tree.leaves(adam.mu)} == {jnp.dtype(dtype)}
        assert {leaf.dtype for leaf in jax.tree.leaves(adam.nu)} == {jnp.dtype("float32")}
    assert updates[1]["words"].dtype == jnp.float32
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-2), *updates)
    assert (updates[0]["words"] != updates[1]["words"]).any()


def test_an_unknown_part_of_the_model_is_refused() -> None:
    message = r"config\.optim\.factors: a part of the model is 'mlp', expected .*'video_mlp'"
    with pytest.raises(UserError, match=message):
        update((("mlp", 20.0),))
