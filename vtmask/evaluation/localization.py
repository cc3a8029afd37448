"""Evaluates step localisation: finds the second in which a video shows each step of its task."""

from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from vtmask.errors import UserError
from vtmask.evaluation import base, cards, figures, metrics, ordered_steps
from vtmask.evaluation.base import Evaluation, Record
from vtmask.export import Model
from vtmask.inputs import examples
from vtmask.inputs.dataset import Dataset
from vtmask.tasks.localization import StepLocalization


def evaluate(
    model: Model, task: StepLocalization, dataset: Dataset, settings: ConfigDict
) -> Evaluation:
    """Assigns one feature to each step, in the order of the task, and measures the recall.

    Args:
      settings: `batch_size`, windows per call; `stride`, features from the start of a window to the
        next.

    Returns:
      "recall" in a row for the mean over tasks and, if there are several, one for each task.

    Raises:
      UserError: a video's task has no steps, or no video shows a step.
    """
    batch_size = settings.batch_size
    tokens = [examples.tokens(record["step_texts"]) for record in _records(dataset)]
    every = [step for steps in tokens for step in steps]
    texts = base.embed_texts(model, task.embed_steps, every, batch_size)
    embeddings = np.split(texts, np.cumsum([len(steps) for steps in tokens])[:-1])
    encode_frames = task.encoding.encode_frames
    frames = base.over_windows(model, encode_frames, dataset, batch_size, settings.stride)
    assigned = [
        ordered_steps.assign(states @ steps.T)
        for states, steps in zip(frames, embeddings, strict=True)
    ]
    shown = [_shown(record, dataset.seconds_per_feature) for record in _records(dataset)]
    tasks = [_task(record) for record in _records(dataset)]
    spread = [_evenly_spaced(*frames.shape) for frames in shown]
    by_task = metrics.step_recall(tasks, assigned, shown)
    if not by_task:
        raise UserError(f"{dataset.path}: no video of {dataset.split} shows a step of its task")
    mean = {"recall": by_task.pop("recall")}
    predictions = [
        _prediction(record, features, truth, dataset.seconds_per_feature)
        for record, features, truth in zip(_records(dataset), assigned, shown, strict=True)
    ]

    def resampled(drawn: np.ndarray) -> dict[str, float]:
        parts = ([values[i] for i in drawn] for values in (tasks, assigned, shown))
        recalls = metrics.step_recall(*parts)
        return {"recall": recalls["recall"]} if recalls else {}

    return Evaluation(
        metrics={"mean over tasks": mean}
        | {name: {"recall": value} for name, value in by_task.items() if len(by_task) > 1},
        intervals={"mean over tasks": metrics.bootstrap(resampled, len(assigned))},
        baselines={
            "evenly spaced": {"recall": metrics.step_recall(tasks, spread, shown)["recall"]}
        },
        headline=[("mean over tasks", "recall")],
        explanation="recall: the share of the steps in the videos whose assigned second shows "
        "them. Every step of the task gets one second, in order. The baseline spaces the steps "
        "evenly and ignores the video.",
        figures=[figures.bars(by_task, {}, "recall of a task")] if len(by_task) > 1 else [],
        groups=cards.steps(predictions, base.videos(dataset)),
        predictions=predictions,
    )


def _records(dataset: Dataset) -> Iterator[Record]:
    for record in base.records(dataset, "steps", "step_texts"):
        if not record["step_texts"]["text"]:
            raise UserError(
                f"{dataset.path}: video {record['video_id']}: field step_texts is empty, expected "
                "the steps of the video's task"
            )
        yield record


def _task(record: Record) -> str:
    """Returns the title of the record's task; in data sets without tasks, one title for all."""
    if "task" not in record:
        return "Steps of the video"
    return f"{record['title']} ({record['task']})"


def _shown(record: Record, seconds_per_feature: float) -> np.ndarray:
    """Returns True where a feature shows a step: bool [features, steps]."""
    shown = np.zeros((len(record["features"]), len(record["step_texts"]["text"])), bool)
    places = examples.clips(record["steps"], seconds_per_feature, len(shown))
    for (start, stop), label in zip(places, record["steps"]["label"], strict=True):
        shown[start:stop, label - 1] = True
    return shown


def _evenly_spaced(features: int, steps: int) -> np.ndarray:
    """Splits a video into equal parts, one per step; returns their middle features: int [steps]."""
    return ((np.arange(steps) + 0.5) * features / steps).astype(int)


def _prediction(
    record: Record, assigned: np.ndarray, shown: np.ndarray, seconds_per_feature: float
) -> Record:
    """Makes a video's JSON object; `assigned` is as in `step_recall`, `shown` as in `_shown`."""
    done = record["steps"]
    spans: list[list[list[float]]] = [[] for _ in assigned]
    for start, end, label in zip(done["start"], done["end"], done["label"], strict=True):
        spans[label - 1].append([float(start), float(end)])
    hits = (assigned >= 0) & shown[assigned, np.arange(len(assigned))]
    is_shown = shown.any(axis=0)
    return {
        "video_id": record["video_id"],
        "task": _task(record),
        "steps": list(record["step_texts"]["text"]),
        "predicted": [float(i * seconds_per_feature) if i >= 0 else -1.0 for i in assigned],
        "true": spans,
        "seconds": len(shown) * seconds_per_feature,
        "recall": float(hits[is_shown].mean()) if is_shown.any() else None,
    }
