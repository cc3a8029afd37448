"""The model works in other precisions, with dropout and with nothing to predict."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from vtmask.masking import Masked, MaskingScheme
from vtmask.models import VLM, VLMConfig, initial_params
from vtmask.tasks import Pretrain, Retrieval

BATCH = jax.tree.map(jnp.asarray, synthetic.SyntheticBatches().batch(0))


def loss(model_config: VLMConfig, task: Any, dropout_seed: int = 0) -> float:
    model = VLM(model_config)
    variables = {"params": initial_params(model, 0)}
    rngs = {"dropout": jax.random.key(dropout_seed)}
    apply = jax.jit(nn.apply(task.loss, model))
    value, _ = apply(variables, BATCH, jax.random.key(1), rngs=rngs)
    assert value.dtype == jnp.float32
    return float(value)


@pytest.mark.parametrize("task", [Pretrain(), Pretrain(objective="mfm_mlm"), Retrieval(2)])
def test_bfloat16_activations_give_nearly_the_same_loss(task: Any) -> None:
    model_config = dataclasses.replace(synthetic.CONFIG, dropout_rate=0.0)
    half = dataclasses.replace(model_config, dtype="bfloat16")
    assert loss(half, task) == pytest.approx(loss(model_config, task), rel=0.01)
    assert {leaf.dtype for leaf in jax.tree.leaves(initial_params(VLM(half), 0))} == {
        jnp.dtype("float32")
    }


def test_gradients_of_a_frequent_word_are_summed_in_float32() -> None:
    text = jnp.full((256, synthetic.CONFIG.max_text_len), 7)
    video_tokens = jnp.zeros((256, 0, synthetic.CONFIG.hidden_size))
    weight = jax.random.normal(jax.random.key(0), (synthetic.CONFIG.hidden_size,))
    params = initial_params(VLM(synthetic.CALM), 0)

    def of_words(dtype: str) -> Any:
        model = VLM(dataclasses.replace(synthetic.CALM, dtype=dtype))

        def total(params: Any) -> jax.Array:
            embedded: Any = model.apply({"params": params}, video_tokens, text, method="embed")
            return (embedded * weight).sum()

        return jax.grad(total)(params)["words"]["embedding"][7]

    exact = of_words("float32")
    error = jnp.linalg.norm(of_words("bfloat16") - exact) / jnp.linalg.norm(exact)
    assert error < 0.02


def test_dropout_follows_its_key() -> None:
    model_config = dataclasses.replace(synthetic.CONFIG, dropout_rate=0.5)
    assert loss(model_config, Retrieval(2), 1) == loss(model_config, Retrieval(2), 1)
    assert loss(model_config, Retrieval(2), 1) != loss(model_config, Retrieval(2), 2)


def test_default_sizes_are_those_of_bert_base() -> None:
    shapes = jax.eval_shape(lambda: initial_params(VLM(VLMConfig()), 0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["encoder"])) == 85_054_464
    assert shapes["words"]["embedding"].shape == (30522, 768)


@pytest.mark.parametrize("masked_frames", [False, True])
def test_gradients_are_finite_if_there_is_nothing_to_predict_or_no_negative(
    masked_frames: bool,
) -> None:
    model = VLM(synthetic.CONFIG)
    params = initial_params(model, 0)
    nothing = jnp.zeros_like(BATCH["text_mask"])
    frames = BATCH["video_mask"] if masked_frames else jnp.zeros_like(BATCH["video_mask"])
    masked = Masked(BATCH["text"], nothing, frames)
    for task in (Pretrain(), Pretrain(objective="mfm_mlm")):

        def loss_of(params: Any, masked: Masked, task: Pretrain = task) -> jax.Array:
            apply = nn.apply(task.masked_loss, model)
            return apply({"params": params}, BATCH, masked, True)[0]

        value, grads = jax.jit(jax.value_and_grad(loss_of))(params, masked)
        assert value == 0 or masked_frames
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_negatives_come_from_the_entire_batch() -> None:
    """More samples give masked frames more negatives, so the loss grows."""
    model = VLM(dataclasses.replace(synthetic.CONFIG, dropout_rate=0.0))
    variables = {"params": initial_params(model, 0)}
    task = Pretrain(MaskingScheme(mm_prob=1.0))
    few = {name: value[:2] for name, value in BATCH.items()}
    masked = Masked(
        BATCH["text"],
        jnp.zeros_like(BATCH["text_mask"]),
        BATCH["video_mask"].at[1:].set(False),
    )
    apply = jax.jit(nn.apply(task.masked_loss, model), static_argnums=3)
    small = apply(variables, few, jax.tree.map(lambda x: x[:2], masked), True)[0]
    assert apply(variables, BATCH, masked, True)[0] > small
