"""Question answering is trained as retrieval, and scores the answers of each video separately."""

import numpy as np
import pytest
import synthetic

from vtmask.tasks.question_answering import QuestionAnswering
from vtmask.tasks.retrieval import Retrieval

BATCH = synthetic.SyntheticBatches(6).batch(0)
VIDEO = BATCH["video"][:2], BATCH["video_mask"][:2]
ANSWERS = BATCH["text"].reshape(2, 3, -1), BATCH["text_mask"].reshape(2, 3, -1)


def test_the_loss_equals_that_of_v2t_retrieval() -> None:
    actual = synthetic.loss(QuestionAnswering(2), synthetic.CALM, BATCH)
    assert actual == synthetic.loss(Retrieval(2, "v2t"), synthetic.CALM, BATCH)


@pytest.mark.parametrize("isolated_layers", [1, None])
def test_scores_are_dot_products_with_the_answers(isolated_layers: int | None) -> None:
    task, retrieval = QuestionAnswering(isolated_layers, 3), Retrieval(isolated_layers)
    scores = synthetic.apply(task.scores, synthetic.CALM, *VIDEO, *ANSWERS)
    videos = synthetic.apply(retrieval.encoding.embed_video, synthetic.CALM, *VIDEO)
    text = BATCH["text"], BATCH["text_mask"]
    texts = synthetic.apply(retrieval.encoding.embed_text, synthetic.CALM, *text)
    every = np.asarray(videos) @ np.asarray(texts).T
    np.testing.assert_allclose(scores, [every[0, :3], every[1, 3:]], rtol=1e-4, atol=1e-4)


def test_answers_do_not_attend_to_each_other() -> None:
    text, mask = ANSWERS
    task = QuestionAnswering(2)
    scores = synthetic.apply(task.scores, synthetic.CALM, *VIDEO, text, mask)
    turned = synthetic.apply(task.scores, synthetic.CALM, *VIDEO, text[:, ::-1], mask[:, ::-1])
    np.testing.assert_allclose(turned, scores[:, ::-1], rtol=1e-5)
