"""Step localisation scores frames against steps and ignores padding."""

import dataclasses

import numpy as np
import pytest
import synthetic

from vtmask.tasks.localization import StepLocalization
from vtmask.tasks.retrieval import Retrieval

CONFIG = synthetic.CALM
BATCH = synthetic.steps_batch()
TASK = StepLocalization(CONFIG.num_layers)


@pytest.mark.parametrize("isolated_layers", [1, None])
def test_the_loss_is_the_mean_over_frames_and_steps(isolated_layers: int | None) -> None:
    task = StepLocalization(isolated_layers)
    losses = []
    for video in range(len(BATCH["video"])):
        steps, mask = (BATCH[name][video] for name in ("steps", "steps_mask"))
        exists = mask.any(axis=1)
        clips = BATCH["video"][video], BATCH["video_mask"][video]
        encode_frames = task.encoding.encode_frames
        frames = np.asarray(synthetic.apply(encode_frames, CONFIG, *clips), np.float64)
        texts = np.asarray(synthetic.apply(task.embed_steps, CONFIG, steps, mask), np.float64)
        scores = frames[BATCH["video_mask"][video]] @ texts[exists].T
        shown = BATCH["shown"][video][BATCH["video_mask"][video]][:, exists]
        losses.append(np.logaddexp(0, np.where(shown, -scores, scores)).ravel())
    actual = synthetic.loss(task, CONFIG, BATCH)
    assert actual == pytest.approx(np.concatenate(losses).mean(), rel=1e-4)


def test_steps_are_pooled_as_texts_of_retrieval_and_zero_if_missing() -> None:
    steps, mask = BATCH["steps"][0], BATCH["steps_mask"][0]
    actual = synthetic.apply(TASK.embed_steps, CONFIG, steps, mask)
    expected = synthetic.apply(
        Retrieval(CONFIG.num_layers).encoding.embed_text, CONFIG, steps[:3], mask[:3]
    )
    np.testing.assert_allclose(actual[:3], expected, rtol=1e-5, atol=1e-6)
    assert not np.asarray(actual[3:]).any()


def test_padding_does_not_change_the_loss() -> None:
    """Padded frames, tokens, windows and steps may have any content."""
    few = {
        "video": BATCH["video"][:, :, :4],
        "video_mask": BATCH["video_mask"][:, :, :4],
        "steps": BATCH["steps"][:, :, :5],
        "steps_mask": BATCH["steps_mask"][:, :, :5],
        "shown": BATCH["shown"][:, :, :4],
    }
    more = {
        "video": ((0, 0), (0, 1), (0, 2), (0, 0)),
        "video_mask": ((0, 0), (0, 1), (0, 2)),
        "steps": ((0, 0), (0, 2), (0, 3)),
        "steps_mask": ((0, 0), (0, 2), (0, 3)),
        "shown": ((0, 0), (0, 1), (0, 2), (0, 2)),
    }
    padded = {name: np.pad(few[name], widths) for name, widths in more.items()}
    valid = padded["video_mask"][..., None]
    exists = np.asarray(padded["steps_mask"].any(axis=2))[:, None, None]
    noisy = padded | {
        "video": np.where(valid, padded["video"], np.float16(9)),
        "steps": np.where(padded["steps_mask"], padded["steps"], 7),
        "shown": padded["shown"] | ~(valid & exists),
    }
    expected = synthetic.loss(TASK, CONFIG, few)
    assert synthetic.loss(TASK, CONFIG, noisy) == pytest.approx(expected, rel=1e-5)


def test_gradients_are_finite_if_steps_and_windows_are_missing() -> None:
    """One video lacks a window and two steps, one lacks all windows, and one all steps."""
    batch = {name: x.copy() for name, x in BATCH.items()}
    batch["video_mask"][1] = False
    batch["steps_mask"][2] = False
    grads = synthetic.gradients(TASK, CONFIG, batch)
    assert all(np.isfinite(leaf).all() for leaf in grads)


def test_training_learns() -> None:
    losses = synthetic.losses_in_training(TASK, CONFIG, BATCH)
    assert losses[-1] < 0.2 * losses[0]


def test_bfloat16_activations_give_nearly_the_same_loss() -> None:
    model_config = dataclasses.replace(CONFIG, initializer_range=0.02)
    half = dataclasses.replace(model_config, dtype="bfloat16")
    expected = synthetic.loss(TASK, model_config, BATCH)
    assert synthetic.loss(TASK, half, BATCH) == pytest.approx(expected, rel=0.01)
