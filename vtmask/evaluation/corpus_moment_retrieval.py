"""Evaluates video corpus moment retrieval: finds a text's moments in all videos of a split.

The task is that of Lei et al. (TVR, ECCV 2020, section 3).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from vtmask import peaks
from vtmask.evaluation import base, corpus_queries, metrics, moment_cards, moment_metrics
from vtmask.evaluation.base import Evaluation, Record
from vtmask.evaluation.corpus_queries import Queries
from vtmask.export import Model
from vtmask.inputs.dataset import Dataset
from vtmask.tasks.moments import MomentRetrieval

DEPTHS = (1, 5, 10, 100)
IOUS = (0.3, 0.5, 0.7)
_SAVED = 10  # moments per text in predictions


class Retrieved(NamedTuple):
    """Moments retrieved for a text, best first: int [moments], float [moments, 2] and [moments]."""

    videos: np.ndarray
    times: np.ndarray
    scores: np.ndarray


def evaluate(
    model: Model, task: MomentRetrieval, dataset: Dataset, settings: ConfigDict
) -> Evaluation:
    """Measures R@K at an IoU: the share of texts with a right moment among their first K.

    A moment is right if it is in a right video and its IoU with an annotated moment there is at
    least this high. If several annotators chose moments (DiDeMo), this must hold for two of them.
    `vtmask.peaks` finds the moments in the dot products of the text and every second, as in `vtmask
    search`.

    Args:
      settings: `batch_size`, windows or texts per call; `stride`, features from the start of one
        window to the next; `field`, a field that `corpus_queries.read` takes.

    Raises:
      UserError: the split has no texts with moments.
    """
    queries = corpus_queries.read(dataset, settings.field)
    texts = base.embed_texts(model, task.encoding.embed_text, queries.tokens, settings.batch_size)
    hidden = list(
        base.over_windows(
            model, task.encoding.encode_frames, dataset, settings.batch_size, settings.stride
        )
    )
    lengths = np.array([len(states) for states in hidden])
    retrieved = [
        retrieve(scores, lengths, dataset.seconds_per_feature)
        for scores in _scores(texts, np.concatenate(hidden), settings.batch_size)
    ]
    ranks = {
        iou: np.array(
            [
                first_right(moments, videos, times, agreement, iou)
                for moments, videos, times, agreement in zip(
                    retrieved, queries.videos, queries.times, queries.agreement, strict=True
                )
            ]
        )
        for iou in IOUS
    }
    ids = [record["video_id"] for record in base.records(dataset)]
    predictions = list(_predictions(queries, retrieved, ranks, ids))
    return Evaluation(
        metrics={_row(iou): recalls(of_iou) for iou, of_iou in ranks.items()},
        intervals={_row(iou): _interval(of_iou) for iou, of_iou in ranks.items()},
        baselines={
            f"chance, {_row(iou)}": chance(queries, lengths * dataset.seconds_per_feature, iou)
            for iou in IOUS
        },
        headline=[(_row(0.5), "R@1"), (_row(0.5), "R@10")],
        explanation="R@K: the share of texts with a right moment among the first K of all videos. "
        "A moment is right if it is in a right video and its intersection over union (IoU) with an "
        f"annotated moment is at least the row's. {len(queries.texts)} texts are searched in "
        f"{len(lengths)} videos, {lengths.sum() * dataset.seconds_per_feature:.0f} s in all; if a "
        "text describes several moments, any of them is right. Chance draws moments anywhere in "
        "all videos, with the lengths of the annotated ones.",
        figures=[],
        groups=moment_cards.corpus_moments(predictions, base.videos(dataset)),
        predictions=predictions,
    )


def retrieve(scores: np.ndarray, lengths: np.ndarray, seconds_per_feature: float) -> Retrieved:
    """Retrieves a text's moments from all videos.

    Args:
      scores: of the features of all videos, one video after another: [sum of lengths].
      lengths: number of features of each video, int [videos].
    """
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    means = np.add.reduceat(scores, bounds[:-1]) / lengths
    moments = peaks.find(scores, bounds, means, DEPTHS[-1])
    videos = np.searchsorted(bounds, moments.peak, side="right") - 1
    places = np.stack([moments.start, moments.stop], axis=1) - bounds[videos, None]
    return Retrieved(videos, places * seconds_per_feature, scores[moments.peak])


def first_right(
    moments: Retrieved, videos: np.ndarray, times: np.ndarray, agreement: int, iou: float
) -> float:
    """Returns the rank of the first right moment, from 1; infinite if none is right.

    Args:
      videos, times, agreement: of the text, as in `Queries`.
    """
    matches = moment_metrics.ious(moments.times, times) >= iou
    matches &= moments.videos[:, None] == videos
    hits = matches.sum(axis=1) >= agreement
    return float(hits.argmax()) + 1 if hits.any() else np.inf


def recalls(ranks: np.ndarray) -> dict[str, float]:
    """Computes R@K of texts with these ranks."""
    return {f"R@{depth}": float((ranks <= depth).mean()) for depth in DEPTHS}


def chance(queries: Queries, seconds: np.ndarray, iou: float) -> dict[str, float]:
    """Computes the expected `recalls` of moments drawn at random.

    A draw has the length of one of the annotated moments, rounded to seconds. It starts at any
    second of any video and is cut off at the video's end.

    Args:
      seconds: lengths of the videos.
    """
    spans = np.concatenate([times[:, 1] - times[:, 0] for times in queries.times])
    drawn, counts = np.unique(np.maximum(spans.round(), 1), return_counts=True)
    starts = [np.arange(np.ceil(length)) for length in seconds]
    total = sum(map(len, starts)) * counts.sum()
    right = np.empty(len(queries.texts))
    annotated = zip(queries.videos, queries.times, queries.agreement, strict=True)
    for row, (videos, times, agreement) in enumerate(annotated):
        hits = 0
        for video in np.unique(videos):
            for length, count in zip(drawn, counts, strict=True):
                ends = np.minimum(starts[video] + length, seconds[video])
                spans = np.stack([starts[video], ends], axis=1)
                matches = moment_metrics.ious(spans, times[videos == video]) >= iou
                hits += count * int((matches.sum(axis=1) >= agreement).sum())
        right[row] = hits / total
    return {f"R@{depth}": float((1 - (1 - right) ** depth).mean()) for depth in DEPTHS}


def _scores(texts: np.ndarray, seconds: np.ndarray, block: int) -> Iterator[np.ndarray]:
    """Yields the scores of all seconds for each text, computed in blocks of texts."""
    for first in range(0, len(texts), block):
        yield from texts[first : first + block] @ seconds.T


def _row(iou: float) -> str:
    return f"IoU {iou:g}"


def _interval(ranks: np.ndarray) -> dict[str, tuple[float, float]]:
    return metrics.bootstrap(lambda drawn: recalls(ranks[drawn]), len(ranks))


def _predictions(
    queries: Queries,
    retrieved: Sequence[Retrieved],
    ranks: Mapping[float, np.ndarray],
    ids: Sequence[str],
) -> Iterator[Record]:
    for row, moments in enumerate(retrieved):
        right: list[dict[str, Any]] = [
            {"video_id": ids[video], "time": time}
            for video, time in zip(queries.videos[row], queries.times[row].tolist(), strict=True)
        ]
        yield {
            "text": queries.texts[row],
            "right": right,
            "retrieved": [
                {"video_id": ids[video], "time": time, "score": float(score)}
                for video, time, score in zip(
                    moments.videos[:_SAVED],
                    moments.times[:_SAVED].tolist(),
                    moments.scores[:_SAVED],
                    strict=True,
                )
            ],
            "ranks": {
                _row(iou): float(of_iou[row]) if np.isfinite(of_iou[row]) else None
                for iou, of_iou in ranks.items()
            },
        }
