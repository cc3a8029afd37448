"""With isolated layers, joint and separate embeddings are equal for any padding."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import synthetic

from vtmask.errors import UserError
from vtmask.models import VLM
from vtmask.tasks.retrieval import Retrieval

BATCH = synthetic.SyntheticBatches(6).batch(0)
LAYERS = synthetic.CALM.num_layers


def together(task: Retrieval, batch: dict[str, np.ndarray] = BATCH) -> tuple[Any, Any]:
    def embed(model: VLM, batch: Any) -> Any:
        return task.encoding.embed_pairs(model, batch, deterministic=True)

    return synthetic.apply(embed, synthetic.CALM, batch)


def apart(task: Retrieval, batch: dict[str, np.ndarray] = BATCH) -> tuple[Any, Any]:
    video, text = (batch["video"], batch["video_mask"]), (batch["text"], batch["text_mask"])
    return (
        synthetic.apply(task.encoding.embed_video, synthetic.CALM, *video),
        synthetic.apply(task.encoding.embed_text, synthetic.CALM, *text),
    )


def differ(one: Any, other: Any) -> bool:
    return bool((np.abs(np.asarray(one) - other).max(axis=1) > 1e-3).all())


@pytest.mark.parametrize("isolated_layers", [1, LAYERS, None])
def test_embeddings_of_training_equal_those_of_evaluation(isolated_layers: int | None) -> None:
    task = Retrieval(isolated_layers)
    for joint, alone in zip(together(task), apart(task), strict=True):
        assert joint.dtype == np.float32 and joint.shape == (6, synthetic.CALM.hidden_size)
        np.testing.assert_allclose(joint, alone, atol=1e-5)


def test_without_isolated_layers_modalities_attend_to_each_other() -> None:
    task = Retrieval(0)
    for joint, alone in zip(together(task), apart(task), strict=True):
        assert differ(joint, alone)


def test_the_number_of_isolated_layers_matters() -> None:
    for first, all_ in zip(apart(Retrieval(1)), apart(Retrieval(LAYERS)), strict=True):
        assert differ(first, all_)


def test_the_form_of_pretraining_attends_to_cls() -> None:
    """Both modalities therefore differ from those of the isolated form."""
    for share, isolated in zip(apart(Retrieval(None)), apart(Retrieval(LAYERS)), strict=True):
        assert differ(share, isolated)


@pytest.mark.parametrize(("isolated_layers", "reaches"), [(LAYERS, False), (1, False), (0, True)])
def test_text_reaches_video_only_if_no_layer_is_isolated(
    isolated_layers: int, reaches: bool
) -> None:
    task = Retrieval(isolated_layers)
    other = BATCH | {"text": np.where(BATCH["text"] > 4, BATCH["text"] - 1, BATCH["text"])}
    video, text = together(task)
    other_video, other_text = together(task, other)
    assert differ(text, other_text)
    assert differ(video, other_video) == reaches


@pytest.mark.parametrize("isolated_layers", [LAYERS, 0, None])
def test_padding_does_not_change_the_loss(isolated_layers: int | None) -> None:
    """Padded frames may have any content."""
    few = BATCH | {
        "video": BATCH["video"][:, :4],
        "video_mask": BATCH["video_mask"][:, :4],
        "text": BATCH["text"][:, :5],
        "text_mask": BATCH["text_mask"][:, :5],
    }
    pads = {name: (2 if "video" in name else 3) for name in few}
    padded = {
        name: np.pad(x, [(0, 0), (0, pads[name]), *[(0, 0)] * (x.ndim - 2)])
        for name, x in few.items()
    }
    noise = np.where(padded["video_mask"][..., None], padded["video"], np.float16(9))
    expected = synthetic.loss(Retrieval(isolated_layers), synthetic.CALM, few)
    actual = synthetic.loss(Retrieval(isolated_layers), synthetic.CALM, padded | {"video": noise})
    assert actual == pytest.approx(expected, rel=1e-5)


def test_gradients_are_finite_if_a_text_or_a_video_is_empty() -> None:
    text_mask, video_mask = BATCH["text_mask"].copy(), BATCH["video_mask"].copy()
    text_mask[0], video_mask[1] = np.arange(text_mask.shape[1]) == 0, False
    batch = BATCH | {"text_mask": text_mask, "video_mask": video_mask}
    grads = synthetic.gradients(Retrieval(1), synthetic.CALM, batch)
    assert all(np.isfinite(leaf).all() for leaf in grads)


@pytest.mark.parametrize("isolated_layers", [-1, LAYERS + 1])
def test_an_impossible_number_of_isolated_layers_is_refused(isolated_layers: int) -> None:
    task = Retrieval(isolated_layers)
    problem = f"isolated_layers is {isolated_layers}, but the model has {LAYERS} layers"
    for function in (together, apart):
        with pytest.raises(UserError, match=problem):
            function(task)


def test_bfloat16_activations_give_nearly_the_same_loss() -> None:
    model_config = dataclasses.replace(synthetic.CALM, initializer_range=0.02)
    half = dataclasses.replace(model_config, dtype="bfloat16")
    expected = synthetic.loss(Retrieval(None, "v2t"), model_config, BATCH)
    actual = synthetic.loss(Retrieval(None, "v2t"), half, BATCH)
    assert actual == pytest.approx(expected, rel=0.01)
