"""Evaluates multiple-choice question answering: chooses the answer with the highest score."""

from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from vtmask.errors import UserError
from vtmask.evaluation import base, cards, metrics
from vtmask.evaluation.base import Evaluation
from vtmask.export import Model
from vtmask.inputs import examples
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.examples import Clip, Example
from vtmask.tasks.question_answering import QuestionAnswering


def evaluate(
    model: Model, task: QuestionAnswering, dataset: Dataset, settings: ConfigDict
) -> Evaluation:
    """Chooses the answer with the highest score and measures the accuracy.

    Args:
      settings: `batch_size`, videos per call, and `field`, the questions of a record: "choices" if
        it is absent.

    Returns:
      One row, "questions", with "accuracy".

    Raises:
      UserError: the data set has no such field, a video has no question, or its number of answers
        is not that of the task.
    """
    field = settings.get("field", "choices")
    inputs = _questions(model, task, dataset, field)
    scores = list(base.apply(model, task.scores, inputs, settings.batch_size, "questions"))
    predictions = [
        {
            "video_id": record["video_id"],
            "answers": list(record[field]["text"]),
            "correct": int(record[field]["correct"]),
            "predicted": int(row.argmax()),
            "scores": row.tolist(),
        }
        for record, row in zip(base.records(dataset), scores, strict=True)
    ]
    predicted, correct = (
        np.array([p[key] for p in predictions]) for key in ("predicted", "correct")
    )
    return Evaluation(
        metrics={"questions": {"accuracy": metrics.accuracy(predicted, correct)}},
        intervals={
            "questions": metrics.bootstrap(
                lambda drawn: {"accuracy": metrics.accuracy(predicted[drawn], correct[drawn])},
                len(predicted),
            )
        },
        baselines={"chance": {"accuracy": metrics.chance_accuracy(task.num_answers)}},
        headline=[("questions", "accuracy")],
        explanation="accuracy: the share of questions that are answered correctly.",
        figures=[],
        groups=cards.question_answering(predictions, base.videos(dataset)),
        predictions=predictions,
    )


def _questions(
    model: Model, task: QuestionAnswering, dataset: Dataset, field: str
) -> Iterator[Example]:
    model_config = model.module.config
    for record in base.records(dataset, field):
        answers = examples.tokens(record[field])
        where = f"{dataset.path}: video {record['video_id']}: field {field}"
        if not record[field]["text"] or not 0 <= record[field]["correct"] < len(answers):
            raise UserError(f"{where} has no question; evaluate a split that has questions")
        if len(answers) != task.num_answers:
            raise UserError(
                f"{where} has {len(answers)} answers, expected config.task.num_answers = "
                f"{task.num_answers}"
            )
        texts = [examples.text(model_config, tokens) for tokens in answers]
        yield {
            **examples.video(model_config, record["features"], Clip(0, len(record["features"]))),
            "answers": np.stack([text["text"] for text in texts]),
            "answers_mask": np.stack([text["text_mask"] for text in texts]),
        }
