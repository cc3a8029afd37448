"""Validation gives the metrics of evaluation and the loss of pre-training, equal at every call."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import flax.linen as nn
import in_memory
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic
from ml_collections import ConfigDict

from vtmask.evaluation import retrieval
from vtmask.evaluation.validation import PretrainingValidation, TaskValidation
from vtmask.models import VLM
from vtmask.tasks import Pretrain, Retrieval
from vtmask.tasks.encoding import Separate
from vtmask.training.step import step_keys

CLIPS_PER_RECORD = 4


class Batches(synthetic.SyntheticBatches):
    """Batches of four records with four clips each."""

    sampler = SimpleNamespace(clips_per_record=CLIPS_PER_RECORD)
    records_per_batch = 16 // CLIPS_PER_RECORD
    datasets = (SimpleNamespace(num_records=6),)


def validation(batches: Any = None) -> PretrainingValidation:
    model = VLM(synthetic.CONFIG)
    return PretrainingValidation(model, Pretrain(), batches or Batches(), seed=3)


@pytest.fixture(scope="module")
def params() -> Any:
    return synthetic.params(synthetic.CALM)


@pytest.fixture(scope="module")
def figures(params: Any) -> dict[str, float]:
    return validation()(params)


def test_the_loss_uses_fixed_clips_and_masks_and_no_dropout(
    params: Any, figures: dict[str, float]
) -> None:
    loss = jax.jit(nn.apply(Pretrain().loss, VLM(synthetic.CALM)))
    keys = [step_keys(3, step)[0] for step in range(512 // 16)]
    losses = [
        loss({"params": params}, Batches().batch(step), key)[0] for step, key in enumerate(keys)
    ]
    assert figures["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert {"frame_loss", "word_loss"} <= figures.keys()


def test_two_calls_give_the_same_bits(params: Any, figures: dict[str, float]) -> None:
    assert validation()(params) == figures


def test_alignment_is_among_clips_of_different_videos(
    params: Any, figures: dict[str, float]
) -> None:
    bound = VLM(synthetic.CONFIG).bind({"params": params})
    videos, texts = [], []
    for step in range(2):
        batch = {k: v[::CLIPS_PER_RECORD] for k, v in Batches().batch(step).items()}
        videos.append(Separate().embed_video(bound, batch["video"], batch["video_mask"]))
        texts.append(Separate().embed_text(bound, batch["text"], batch["text_mask"]))
    scores = np.concatenate(texts)[:6] @ np.concatenate(videos)[:6].T
    first = scores.argmax(axis=1) == np.arange(6)
    assert figures["alignment/R@1"] == pytest.approx(first.mean())
    assert figures["alignment/chance"] == pytest.approx(1 / 6)


def test_frames_with_equal_embeddings_have_no_spread(
    params: Any, figures: dict[str, float]
) -> None:
    class Alike(Batches):
        def from_step(self, start_step: int) -> Iterator[Any]:
            for batch in super().from_step(start_step):
                yield batch | {"video": np.zeros_like(batch["video"])}

    equal_positions = jax.tree.map(jnp.zeros_like, params["positions"])
    collapsed = validation(Alike())(params | {"positions": equal_positions})
    # It exceeds 0, because clips differ in how many frames attend to [CLS] and [SEP].
    assert collapsed["frame_spread"] < 0.1 * figures["frame_spread"]


def test_a_task_is_validated_by_the_headline_of_its_evaluation() -> None:
    model, dataset = in_memory.model(), in_memory.dataset(4)
    settings = ConfigDict({"batch_size": 2, "field": "descriptions"})
    task = Retrieval(None)
    actual = TaskValidation(model, "retrieval", task, dataset, settings)(model.params)
    expected = retrieval.evaluate(model, task, dataset, settings).metrics
    assert actual == {
        f"{direction.replace(' ', '_')}/{column}": expected[direction][column]
        for direction in ("text to video", "video to text")
        for column in ("R@1", "MedR")
    }
