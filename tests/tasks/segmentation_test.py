"""Segmentation learns classes of frames, ignores padding, and finds the background zero-shot."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from vtmask.models import VLM, initial_params
from vtmask.tasks import encoding
from vtmask.tasks.retrieval import Retrieval
from vtmask.tasks.segmentation import Segmentation, TextLabels, classes_by_names

CONFIG = dataclasses.replace(synthetic.CALM, num_classes=4)
BATCH = synthetic.labelled_batch()


def parts(batch: dict[str, np.ndarray]) -> tuple[Any, dict[str, Any]]:
    model, key = VLM(CONFIG), jax.random.key(0)
    apply = jax.jit(nn.apply(Segmentation().loss, model))
    return apply({"params": initial_params(model, 0)}, batch, key, rngs={"dropout": key})


def test_loss_and_accuracy_are_means_over_valid_frames() -> None:
    loss, actual = parts(BATCH)
    video = BATCH["video"], BATCH["video_mask"]
    scores = np.asarray(synthetic.apply(Segmentation().scores, CONFIG, *video))
    assert scores.shape == (16, 6, 4)
    losses, right = [], []
    for place in zip(*np.nonzero(BATCH["video_mask"]), strict=True):
        row, label = scores[place], BATCH["labels"][place]
        losses.append(np.log(np.exp(row).sum()) - row[label])
        right.append(row.argmax() == label)
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert actual["frame_accuracy"] == pytest.approx(np.mean(right))


def test_padding_does_not_change_the_loss() -> None:
    """Padded frames and labels may have any content."""
    few = {name: x[:, :4] for name, x in BATCH.items()}
    padded = {
        name: np.pad(x, [(0, 0), (0, 2), *[(0, 0)] * (x.ndim - 2)]) for name, x in few.items()
    }
    valid = padded["video_mask"]
    noisy = padded | {
        "video": np.where(valid[..., None], padded["video"], np.float16(9)),
        "labels": np.where(valid, padded["labels"], 3),
    }
    expected, expected_parts = parts(few)
    loss, actual = parts(noisy)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert actual["frame_accuracy"] == expected_parts["frame_accuracy"]


def test_gradients_are_finite_if_a_window_is_empty() -> None:
    mask = BATCH["video_mask"].copy()
    mask[0] = False
    grads = synthetic.gradients(Segmentation(), CONFIG, BATCH | {"video_mask": mask})
    assert all(np.isfinite(leaf).all() for leaf in grads)


def test_training_learns() -> None:
    losses = synthetic.losses_in_training(Segmentation(), CONFIG, BATCH)
    assert losses[-1] < 0.2 * losses[0]


def test_bfloat16_activations_give_nearly_the_same_loss() -> None:
    model_config = dataclasses.replace(CONFIG, initializer_range=0.02)
    half = dataclasses.replace(model_config, dtype="bfloat16")
    expected = synthetic.loss(Segmentation(), model_config, BATCH)
    assert synthetic.loss(Segmentation(), half, BATCH) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("isolated_layers", [2, None])
def test_names_score_frames_by_dot_products(isolated_layers: int | None) -> None:
    labels = TextLabels(encoding.create(isolated_layers))
    text = synthetic.SyntheticBatches(3).batch(5)
    words = text["text"], text["text_mask"]
    names = synthetic.apply(labels.encoding.embed_text, CONFIG, *words)
    pooled = synthetic.apply(Retrieval(isolated_layers).encoding.embed_text, CONFIG, *words)
    np.testing.assert_array_equal(names, pooled)
    video = BATCH["video"], BATCH["video_mask"]
    scores = synthetic.apply(labels.scores, CONFIG, *video, names)
    doubled = synthetic.apply(labels.scores, CONFIG, *video, 2 * names[::-1])
    assert scores.shape == (16, 6, 3)
    np.testing.assert_allclose(doubled, 2 * scores[..., ::-1], rtol=1e-4, atol=1e-4)


def test_a_frame_is_background_unless_above_the_closest_two_names() -> None:
    names = jnp.array([[2.0, 0.0], [1.0, 3.0], [0.0, -1.0]])  # the first two have the product 2
    scores = jnp.array(
        [
            [2.5, 0.0, 0.0],
            [0.0, 2.1, 1.0],
            [0.0, 0.0, 9.0],
            [2.0, 0.0, 0.0],  # no more than the threshold
            [1.9, 1.9, 1.9],
            [-5.0, -6.0, -7.0],
            [0.0, 4.0, 4.0],  # the first of equals
        ]
    )
    actual = classes_by_names(scores, names)
    assert actual.dtype == jnp.int32
    assert actual.tolist() == [1, 2, 3, 0, 0, 0, 2]
    assert classes_by_names(scores[None, :2], names).tolist() == [[1, 2]]


def test_all_scores_of_names_far_apart_may_be_negative() -> None:
    names = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    scores = jnp.array([[-0.5, -2.0], [-1.0, -2.0]])
    assert classes_by_names(scores, names).tolist() == [1, 0]


def test_with_one_name_nothing_is_background() -> None:
    assert classes_by_names(jnp.array([[-5.0], [5.0]]), jnp.array([[1.0]])).tolist() == [1, 1]
