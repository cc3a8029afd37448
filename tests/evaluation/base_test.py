"""Each example goes through the model once, in order, for any batch size."""

from pathlib import Path
from typing import Any
from unittest import mock

import flax.linen as nn
import in_memory
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from vtmask.errors import UserError
from vtmask.evaluation import base, windows
from vtmask.inputs import examples
from vtmask.inputs.examples import Clip, Example
from vtmask.models import VLM
from vtmask.tasks.retrieval import Retrieval

MODEL = in_memory.model()
CONFIG = MODEL.module.config


def clips(*lengths: int) -> list[Example]:
    generated = (in_memory.record(i, length) for i, length in enumerate(lengths))
    return [examples.video(CONFIG, r["features"], Clip(0, len(r["features"]))) for r in generated]


@jax.jit
def embed(clip: Example) -> Array:
    """Returns the clip's embedding from a separate call."""
    inputs = {name: x[None] for name, x in clip.items()}
    apply = nn.apply(Retrieval(None).encoding.embed_video, MODEL.module)
    return apply({"params": MODEL.params}, **inputs)[0]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_each_example_has_its_own_result(batch_size: int) -> None:
    inputs = clips(2, 6, 4)
    embed_video = Retrieval(None).encoding.embed_video
    actual = list(base.apply(MODEL, embed_video, inputs, batch_size, "clips"))
    np.testing.assert_allclose(actual, [embed(clip) for clip in inputs], rtol=1e-4, atol=1e-4)


def test_options_are_shared_and_results_may_be_trees() -> None:
    def describe(module: VLM, offset: Array, **batch: Array) -> dict[str, Array]:
        return {"frames": batch["video_mask"].sum(axis=1) + offset, "mask": batch["video_mask"]}

    actual = list(base.apply(MODEL, describe, clips(2, 6, 4), 2, "clips", offset=jnp.array(10)))
    assert [int(one["frames"]) for one in actual] == [12, 16, 14]
    assert actual[2]["mask"].tolist() == [True] * 4 + [False] * 2


def test_equal_texts_are_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = mock.Mock(side_effect=examples.text)
    monkeypatch.setattr(base.examples, "text", text)
    texts: list[Any] = [[7, 8], np.array([9], np.int32), np.array([7, 8], np.int32), []]
    actual = base.embed_texts(MODEL, Retrieval(None).encoding.embed_text, texts, 2)
    assert [call.args[1].tolist() for call in text.mock_calls] == [[7, 8], [9], []]
    assert actual.shape == (4, CONFIG.hidden_size)
    np.testing.assert_array_equal(actual[0], actual[2])
    alone = base.embed_texts(MODEL, Retrieval(None).encoding.embed_text, texts[1:2], 2)
    np.testing.assert_allclose(actual[1], alone[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 4, 6])
def test_windows_are_merged_into_videos(stride: int) -> None:
    dataset = in_memory.InMemory([in_memory.record(i, n) for i, n in enumerate((3, 6, 7, 20))])

    def describe(module: VLM, video: Array, video_mask: Array, scale: Array) -> Array:
        """Returns a frame's first feature, and the number of frames in its window."""
        length = jnp.broadcast_to(video_mask.sum(axis=1)[:, None, None], (*video_mask.shape, 1))
        return jnp.concatenate([video[..., :1].astype(jnp.float32), scale * length], axis=2)

    actual = list(base.over_windows(MODEL, describe, dataset, 3, stride, scale=jnp.array(10.0)))
    assert len(actual) == 4
    for record, values in zip(dataset.records, actual, strict=True):
        length = len(record["features"])
        np.testing.assert_array_equal(values[:, 0], record["features"][:, 0])
        starts = windows.starts(length, 6, stride).tolist()
        spans = [range(start, min(start + 6, length)) for start in starts]
        means = [np.mean([len(s) for s in spans if frame in s]) for frame in range(length)]
        np.testing.assert_allclose(values[:, 1], 10 * np.array(means), rtol=1e-6)


@pytest.mark.parametrize("stride", [0, 7])
def test_windows_that_leave_frames_out_are_refused(stride: int) -> None:
    with pytest.raises(UserError, match=f"config.eval.stride is {stride}, expected 1 to .*, 6$"):
        list(base.over_windows(MODEL, embed, in_memory.dataset(), 2, stride))


def test_records_must_have_the_requested_fields() -> None:
    dataset = in_memory.dataset()
    assert [r["video_id"] for r in base.records(dataset, "clips", "steps")] == ["v0", "v1", "v2"]
    with pytest.raises(UserError, match="^data: data set has no field 'answers'; it does not fit"):
        list(base.records(dataset, "clips", "answers"))


@pytest.mark.parametrize(
    ("features", "problem"),
    [
        (np.ones((0, 4)), "data: video v1: field features is empty; extract this video and build"),
        (np.full((2, 4), np.nan), "data: video v1: field features is not finite; extract this"),
    ],
)
def test_empty_and_non_finite_features_are_refused(features: np.ndarray, problem: str) -> None:
    dataset = in_memory.dataset()
    dataset.records[1]["features"] = features
    with pytest.raises(UserError, match=problem):
        list(base.records(dataset))


def test_videos_have_the_paths_of_their_files() -> None:
    videos = base.videos(in_memory.dataset())
    assert videos("v0") is None and videos("v2") == Path("data/v2.mp4")
