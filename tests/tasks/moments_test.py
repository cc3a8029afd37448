"""Moment retrieval is trained as T2V retrieval, and encodes the frames of a video together."""

import numpy as np
import pytest
import synthetic

from vtmask.tasks.moments import MomentRetrieval
from vtmask.tasks.retrieval import Retrieval

BATCH = synthetic.SyntheticBatches(6).batch(0)
VIDEO = BATCH["video"], BATCH["video_mask"]


def test_the_loss_equals_that_of_t2v_retrieval() -> None:
    actual = synthetic.loss(MomentRetrieval(2), synthetic.CALM, BATCH)
    assert actual == synthetic.loss(Retrieval(2, "t2v"), synthetic.CALM, BATCH)


@pytest.mark.parametrize("isolated_layers", [2, None])
def test_retrieval_pools_the_same_frames(isolated_layers: int | None) -> None:
    task = MomentRetrieval(isolated_layers)
    frames = synthetic.apply(task.encoding.encode_frames, synthetic.CALM, *VIDEO)
    assert frames.shape == (6, 6, 32) and frames.dtype == np.float32
    parts = synthetic.apply(task.encoding.encode_video, synthetic.CALM, *VIDEO)
    np.testing.assert_array_equal(frames, parts.frames)
    retrieval = Retrieval(isolated_layers)
    pooled = synthetic.apply(retrieval.encoding.embed_video, synthetic.CALM, *VIDEO)
    lengths = BATCH["video_mask"].sum(axis=1, keepdims=True)
    total = (frames * BATCH["video_mask"][..., None]).sum(axis=1) + parts.separator[:, 0]
    np.testing.assert_allclose(pooled, total / (lengths + 1), rtol=1e-4, atol=1e-5)


def test_sentences_are_pooled_as_in_retrieval() -> None:
    text = BATCH["text"], BATCH["text_mask"]
    actual = synthetic.apply(MomentRetrieval(2).encoding.embed_text, synthetic.CALM, *text)
    expected = synthetic.apply(Retrieval(2).encoding.embed_text, synthetic.CALM, *text)
    np.testing.assert_array_equal(actual, expected)
