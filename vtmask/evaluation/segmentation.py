"""Evaluates action segmentation: predicts the class of every feature of a video."""

import functools
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from vtmask.errors import UserError
from vtmask.evaluation import base, cards, figures, metrics
from vtmask.evaluation.base import Evaluation
from vtmask.export import Model
from vtmask.inputs.dataset import Dataset
from vtmask.tasks.segmentation import Segmentation, TextLabels, classes_by_names

_ZERO_SHOT = (
    " Classes are predicted by their names: a feature is background unless its best score exceeds "
    "the largest score between two names. “Best name” never predicts the background; videos are "
    "ordered by it."
)


def evaluate(
    model: Model, task: Segmentation, dataset: Dataset, settings: ConfigDict
) -> Evaluation:
    """Predicts the class of each feature and measures the frame accuracy.

    A model without a classifier is used zero-shot: it compares frames with the names of the data
    set's classes.

    Args:
      settings: `batch_size`, windows per call; `stride`, features from the start of a window to the
        next.

    Returns:
      A row, "features", with "frame accuracy". A zero-shot evaluation has a second row, "best
      name", which takes the best name for each feature and never the background.

    Raises:
      UserError: the data set has no classes, or a class that the model was not trained on.
    """
    if len(dataset.class_names) < 2:
        raise UserError(
            f"{dataset.path}/metadata.json: names no class but the background; segmentation needs "
            "classes"
        )
    rows = {"features": "predicted"}
    if not model.class_names:
        rows["best name"] = "best_name"
    *_, last = rows.values()
    predict = _classify if model.class_names else _match_names
    predicted = predict(model, task, dataset, settings.batch_size, settings.stride)
    predictions = [
        {
            "video_id": record["video_id"],
            **{name: values.tolist() for name, values in classes.items()},
            "true": record["labels"].tolist(),
            "seconds_per_feature": dataset.seconds_per_feature,
            "accuracy": float((classes[last] == record["labels"]).mean()),
        }
        for record, classes in zip(base.records(dataset, "labels"), predicted, strict=True)
    ]

    classes_of = {k: [np.array(p[k]) for p in predictions] for k in ("true", *rows.values())}

    def accuracy(key: str, drawn: Sequence[int] | np.ndarray) -> dict[str, float]:
        predicted, true = ([classes_of[k][i] for i in drawn] for k in (key, "true"))
        return {"frame accuracy": metrics.frame_accuracy(predicted, true)}

    everything = range(len(predictions))
    counts = {key: confusion(predictions, key, len(dataset.class_names)) for key in rows.values()}
    frequent = counts["predicted"].sum(axis=1)
    most = int(frequent.argmax())
    return Evaluation(
        metrics={row: accuracy(key, everything) for row, key in rows.items()},
        intervals={
            row: metrics.bootstrap(functools.partial(accuracy, key), len(predictions))
            for row, key in rows.items()
        },
        baselines={
            f"always “{dataset.class_names[most]}”": {
                "frame accuracy": float(frequent[most] / frequent.sum())
            }
        },
        headline=[(row, "frame accuracy") for row in rows],
        explanation="frame accuracy: the share of features, over all videos, with the right class, "
        "background included. The baseline always predicts this split's most frequent class."
        + (_ZERO_SHOT if not model.class_names else ""),
        figures=[
            figures.confusion_matrix(matrix, dataset.class_names, key.replace("_", " "))
            for key, matrix in counts.items()
        ],
        groups=cards.segments(
            predictions, tuple(rows.values()), dataset.class_names, base.videos(dataset)
        ),
        predictions=predictions,
    )


def confusion(predictions: Sequence[base.Record], key: str, num_classes: int) -> np.ndarray:
    """Counts features by their true class (rows) and their class in `key` (columns): int [C, C]."""
    true = np.concatenate([p["true"] for p in predictions])
    predicted = np.concatenate([p[key] for p in predictions])
    pairs = np.bincount(true * num_classes + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def _classify(
    model: Model, task: Segmentation, dataset: Dataset, batch_size: int, stride: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the classes `predicted` by the classifier, in the data set's order: int [features]."""
    unseen = [name for name in dataset.class_names if name not in model.class_names]
    if unseen:
        raise UserError(
            f"{dataset.path}/metadata.json: {len(unseen)} of its classes were not in the model's "
            f"training, such as {unseen[0]!r}; train on a data set that has them"
        )
    # Classes that the data set lacks don't compete.
    places = [model.class_names.index(name) for name in dataset.class_names]
    for scores in base.over_windows(model, task.scores, dataset, batch_size, stride):
        yield {"predicted": scores[:, places].argmax(axis=1)}


def _match_names(
    model: Model, task: Segmentation, dataset: Dataset, batch_size: int, stride: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yields classes `predicted` by the published rule, and each `best_name`: int [features]."""
    del task
    labels = TextLabels()
    tokens = model.tokenizer.encode(dataset.class_names[1:])
    names = jnp.asarray(base.embed_texts(model, labels.encoding.embed_text, tokens, batch_size))
    for scores in base.over_windows(model, labels.scores, dataset, batch_size, stride, names=names):
        predicted = np.asarray(classes_by_names(jnp.asarray(scores), names))
        yield {"predicted": predicted, "best_name": 1 + scores.argmax(axis=1)}
