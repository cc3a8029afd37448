"""The masks that are shown equal those of training."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import synthetic

from vtmask import attention, masking
from vtmask.inputs.pipeline import Batch
from vtmask.inspection import masks
from vtmask.masking import MaskingScheme
from vtmask.models import VLM, initial_params
from vtmask.tasks import Pretrain, Retrieval
from vtmask.tasks.pretrain import FULL, Budget
from vtmask.training import sharding
from vtmask.training.step import TrainState, make_train_step

CONFIG = synthetic.CONFIG


class ReportedMasks(Pretrain):
    """Pre-training that reports what it masked."""

    def masked_loss(
        self,
        model: VLM,
        batch: dict[str, jax.Array],
        masked: masking.Masked,
        deterministic: bool,
        budget: Budget = FULL,
    ) -> Any:
        loss, _ = super().masked_loss(model, batch, masked, deterministic, budget)
        return loss, masked._asdict()


@pytest.mark.parametrize("step", [0, 3])
def test_the_masks_equal_those_of_the_training_step(step: int) -> None:
    task, model, seed = ReportedMasks(MaskingScheme()), VLM(CONFIG), 7
    batch = synthetic.SyntheticBatches().batch(step)
    mesh = sharding.make_mesh()
    optimizer = optax.sgd(0.1)
    train_step = make_train_step(model, task, optimizer, lambda _: 0.1, seed, mesh)
    params = initial_params(model, seed)
    state = TrainState(jnp.asarray(step, jnp.int32), params, optimizer.init(params))
    _, trained = train_step(state, sharding.put_batch(batch, mesh), 0)
    shown = masks.add_masks(task, batch, seed, step, CONFIG)
    assert shown["text_masked"].any() and shown["video_masked"].any()
    for ours, theirs in [("seen", "text"), *[(f"{k}_masked",) * 2 for k in ("text", "video")]]:
        np.testing.assert_array_equal(shown[ours], trained[theirs], err_msg=ours)


def test_retrieval_masks_nothing() -> None:
    batch = synthetic.SyntheticBatches().batch(0)
    shown = masks.add_masks(Retrieval(1), batch, 0, 0, CONFIG)
    np.testing.assert_array_equal(shown["seen"], batch["text"])
    assert set(masks.cases(shown, CONFIG)) == {"nothing masked"}
    assert masks.summary(shown, CONFIG)["masked"] == "0.0% of frames, 0.0% of tokens"


def small_batch() -> Batch:
    """Makes four clips of two frames, the second one padding, and one or two words."""
    sep, pad = CONFIG.sep_id, CONFIG.pad_id
    text = np.array([[9, 8, sep], [9, sep, pad], [9, 8, sep], [9, 8, sep]])
    return {
        "video_mask": np.array([[1, 0]] * 4, bool),
        "video_masked": np.array([[0, 0], [1, 0], [1, 0], [0, 0]], bool),
        "text": text,
        "text_mask": text != pad,
        "text_masked": np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]], bool),
    }


def test_cases_and_kinds() -> None:
    batch = small_batch()
    expected = ["whole text", "whole video", "ordinary", "nothing masked"]
    assert masks.cases(batch, CONFIG).tolist() == expected
    assert [[masks.KINDS[k] for k in row] for row in masks.position_kinds(batch)[:2]] == [
        ["[CLS] or [SEP]", "frame", "padding"]
        + ["[CLS] or [SEP]", "masked token", "masked token", "[CLS] or [SEP]"],
        ["[CLS] or [SEP]", "masked frame", "padding"]
        + ["[CLS] or [SEP]", "token", "[CLS] or [SEP]", "padding"],
    ]


def test_summary() -> None:
    summary = masks.summary(small_batch(), CONFIG)
    assert summary["padding"] == "17.9% of positions (video 50.0%, text 8.3%)"  # 5 of 28, 1 of 12
    assert summary["masked"] == "50.0% of frames, 42.9% of tokens"  # 2 of 4, 3 of 7
    assert summary["whole text"] == "25.0% of clips"


def test_attention_of_retrieval_is_isolated_first() -> None:
    batch = masks.add_masks(Retrieval(1), synthetic.SyntheticBatches().batch(0), 0, 0, CONFIG)
    first, others = masks.attention_masks(Retrieval(1), batch, 2).values()
    padding = [jnp.asarray(batch[name][:1]) for name in ("video_mask", "text_mask")]
    np.testing.assert_array_equal(first > 0, attention.isolated(*padding)[0, 0])
    np.testing.assert_array_equal(others > 0, attention.padding(*padding)[0, 0].repeat(16, axis=0))
    assert list(masks.attention_masks(Pretrain(), batch, 1)) == ["all layers"]
