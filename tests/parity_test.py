"""Agreement with the published implementation's numbers, within float32 rounding.

`pytest tests/parity_test.py --golden-dir=FULL_DIR` also compares the weights, all gradients, all
hidden states and small parameters after training.
"""

import json
from pathlib import Path
from typing import Any

import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from vtmask import attention, losses
from vtmask.evaluation import metrics
from vtmask.models.vlm import VLM
from vtmask.tasks.pretrain import Pretrain
from vtmask.tasks.retrieval import Retrieval
from vtmask.training.optimizer import make_optimizer, make_schedule

RTOL = 1e-4


def assert_close(actual: Any, expected: Any, name: str = "") -> None:
    """Within 1e-4 of the array's largest value."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=RTOL, atol=RTOL * scale, err_msg=name)


def test_generation_masks(golden_dir: Path) -> None:
    case = np.load(golden_dir / "attention_masks.npz")
    masks = jnp.asarray(case["vmasks"]), jnp.asarray(case["cmasks"][:, 2:])
    np.testing.assert_array_equal(attention.text_generation(*masks)[:, 0], case["textgen"])
    np.testing.assert_array_equal(attention.video_generation(*masks)[:, 0], case["videogen"])


def test_hidden_states(golden_dir: Path) -> None:
    case = np.load(golden_dir / "vlm_pretrain.npz")
    model, params = golden.vlm(case)
    batch = golden.batch(case)
    masked = golden.masked(case, case["input_caps"])

    def hidden_states(model: VLM) -> list[jax.Array]:
        video = jnp.where(masked.video_masked[..., None], 0.0, batch["video"])
        embedded = model.embed(model.video_tokens(video), masked.text)
        return model.encode(embedded, attention.padding(batch["video_mask"], batch["text_mask"]))

    states = nn.apply(hidden_states, model)({"params": params})
    expected = case["hidden_states"]
    for actual, states_there in zip(states[-len(expected) :], expected, strict=True):
        assert_close(actual, states_there)


@pytest.mark.parametrize("objective", ["mtm", "mfm_mlm"])
def test_pretraining_loss_and_gradients(golden_dir: Path, objective: Any) -> None:
    case = np.load(golden_dir / "vlm_pretrain.npz")
    name = objective.replace("_", "")
    model, params = golden.vlm(case)
    if objective == "mfm_mlm":
        params["decoder_bias"] = case["mfmmlm_decoder_bias"]
    batch = golden.batch(case)
    masked = golden.masked(case, case["input_caps"])

    def loss_of(params: Any) -> tuple[jax.Array, Any]:
        loss = nn.apply(Pretrain(objective=objective).masked_loss, model)
        return loss({"params": params}, batch, masked, True)

    (loss, parts), grads = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(params)
    assert_close(loss, case[f"{name}_loss"])
    video_logits, text_logits = case[f"{name}_video_logits"], case[f"{name}_text_logits"]
    assert_close(parts["frame_loss"], cross_entropy(video_logits, 0, objective == "mtm"))
    labels = case["text_label"][case["text_label"] != -100]
    assert_close(parts["word_loss"], cross_entropy(text_logits, labels, objective == "mtm"))

    largest = max(case[key] for key in case.files if key.startswith(f"{name}_gradnorm/"))
    compared = 0
    for key in case.files:
        kind, _, parameter = key.partition("/")
        grad = golden.get(grads, parameter) if kind.startswith(f"{name}_grad") else None
        if grad is not None:
            actual = np.linalg.norm(grad) if kind.endswith("norm") else grad
            atol = 1e-6 * largest  # gradients of key biases are zero but for rounding
            np.testing.assert_allclose(actual, case[key], rtol=1e-3, atol=atol, err_msg=key)
            compared += 1
    assert compared >= 58


def cross_entropy(logits: np.ndarray, labels: Any, one_more: bool) -> float:
    """Mean over rows; MTM's word rows have one more column, a constant 0."""
    if one_more and np.ndim(labels):
        logits = np.pad(logits, ((0, 0), (0, 1)))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_probs[np.arange(len(logits)), labels].mean())


def test_training_trajectory(golden_dir: Path) -> None:
    case = np.load(golden_dir / "vlm_trajectory.npz")
    model, params = golden.vlm(case)
    optim = ConfigDict(
        {
            "lr": float(case["lrs"][-1]),
            "warmup_steps": 3,
            "power": 0.0,
            "clip_norm": 2.0,
            "b1": 0.9,
            "b2": 0.98,
            "eps": 1e-8,
            "weight_decay": 0.0,
        }
    )
    optimizer, schedule = make_optimizer(optim, 5), make_schedule(optim, 5)
    np.testing.assert_allclose([schedule(i) for i in range(5)], case["lrs"], rtol=1e-6)
    opt_state = optimizer.init(params)

    @jax.jit
    def step(params: Any, opt_state: Any, batch: Any, masked: Any) -> Any:
        def loss_of(params: Any) -> Any:
            loss = nn.apply(Pretrain().masked_loss, model)
            return loss({"params": params}, batch, masked, True)[0]

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, optax.tree.norm(grads)

    for i in range(5):
        prefix = f"step{i}/"
        batch = golden.batch(case, prefix)
        masked = golden.masked(case, case[prefix + "caps"], prefix)
        labels = jnp.asarray(case[prefix + "text_label"][:, 2:], jnp.int32)
        batch["text"] = jnp.where(masked.text_masked, labels, batch["text"])
        params, opt_state, loss, norm = step(params, opt_state, batch, masked)
        assert_close(loss, case["losses"][i], f"loss of step {i}")
        assert_close(norm, case["grad_norms"][i], f"gradient norm of step {i}")

    for key in case.files:
        kind, _, parameter = key.partition("/")
        value = golden.get(params, parameter) if kind in ("final", "finalnorm") else None
        if value is not None and not parameter.endswith("key.bias"):
            assert_close(np.linalg.norm(value) if kind == "finalnorm" else value, case[key], key)


@pytest.mark.parametrize("isolated_layers", [1, 3])
def test_joint_retrieval(golden_dir: Path, isolated_layers: int) -> None:
    case = np.load(golden_dir / "vlm_joint.npz")
    model, params = golden.vlm(case, kind="joint")
    batch = golden.batch(case)
    task = Retrieval(isolated_layers)
    masks = attention.isolated_layers(
        batch["video_mask"], batch["text_mask"], isolated_layers, model.sizes.num_layers
    )
    np.testing.assert_array_equal(masks, case[f"iso{isolated_layers}_train/attention_mask"])

    train = nn.apply(task.embed_jointly, model)({"params": params}, batch, True)
    evaluation = nn.apply(task.embed, model)({"params": params}, batch)
    for mode, (video, text) in {"train": train, "eval": evaluation}.items():
        prefix = f"iso{isolated_layers}_{mode}/"
        assert_close(video, case[prefix + "pooled_video"])
        assert_close(text, case[prefix + "pooled_text"])
        assert_close(losses.contrastive(text, video), case[prefix + "t2v_loss"])
        assert_close(losses.contrastive(video, text), case[prefix + "v2t_loss"])


def test_retrieval_metrics(golden_dir: Path) -> None:
    case = json.loads((golden_dir / "metrics.json").read_text())["retrieval"]
    found = metrics.retrieval(np.array(case["scores"]))
    names = {"R@1": "R1", "R@5": "R5", "R@10": "R10", "MedR": "MR"}
    assert found == pytest.approx({ours: case["metrics"][names[ours]] for ours in names})
