"""Evaluates moment retrieval: finds the part of a video that a sentence describes.

Moments here are in segments of 5 seconds (DiDeMo). `vtmask.evaluation.moment_windows` evaluates
moments with times in seconds.
"""

from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from vtmask.errors import UserError
from vtmask.evaluation import base, metrics, moment_cards, moment_windows
from vtmask.evaluation.base import Evaluation, Record
from vtmask.evaluation.moments import SECONDS, SEGMENTS, rank
from vtmask.export import Model
from vtmask.inputs import examples
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.examples import Clip, Example
from vtmask.tasks.moments import MomentRetrieval

_RANDOM_ORDERS = 100  # whose mean is chance


def evaluate(
    model: Model, task: MomentRetrieval, dataset: Dataset, settings: ConfigDict
) -> Evaluation:
    """Measures rank@1, rank@5 and mIoU over all sentences, as `metrics.moments` defines them.

    Calls `moment_windows.evaluate` if moments have times in seconds.

    Args:
      settings: `batch_size`, videos or sentences per call.

    Raises:
      UserError: features don't cover one second each, a video has no moments, or the model's input
        is shorter than the part of a video that has moments.
    """
    if "windows" in dataset[0].get("moments", {}):
        return moment_windows.evaluate(model, task, dataset, settings)
    if dataset.seconds_per_feature != 1:
        raise UserError(
            f"{dataset.path}: features are of {dataset.seconds_per_feature} s, expected 1 s, as "
            "moments are segments of 5 s"
        )
    lengths = np.array([len(record["features"]) for record in _records(dataset)])
    needed, seen = min(lengths.max(), SEGMENTS * SECONDS), model.module.config.max_video_len
    if seen < needed:
        raise UserError(
            f"{dataset.path}: its moments are in the first {needed} s of a video, but the model "
            f"sees only {seen} s (max_video_len); evaluate a model that sees all"
        )
    batch_size = settings.batch_size
    sentences = [s for video, record in enumerate(_records(dataset)) for s in _of(record, video)]
    video_of = np.array([sentence["video"] for sentence in sentences])
    num_segments = np.array([sentence["num_segments"] for sentence in sentences])
    times = [sentence["times"] for sentence in sentences]
    texts = base.embed_texts(
        model, task.encoding.embed_text, [sentence["tokens"] for sentence in sentences], batch_size
    )
    encode_frames, videos = task.encoding.encode_frames, _videos(model, dataset)
    hidden = np.stack(list(base.apply(model, encode_frames, videos, batch_size, "videos")))
    seconds = np.arange(SEGMENTS * SECONDS)
    padding = max(len(seconds) - hidden.shape[1], 0)
    hidden = np.pad(hidden, ((0, 0), (0, padding), (0, 0)))[:, : len(seconds)]
    ranked = rank(hidden[video_of], texts, seconds < lengths[video_of, None], num_segments)
    ranks, ious = metrics.moment_ranks(ranked, times), metrics.moment_ious(ranked, times)
    predictions = [
        {
            "video_id": sentence["video_id"],
            "text": sentence["text"],
            "ranked": [m.tolist() for m in order if m[1] < sentence["num_segments"]],
            "times": sentence["times"].tolist(),
            "num_segments": int(sentence["num_segments"]),
            "rank": float(rank_),
            "IoU": float(iou),
        }
        for sentence, order, rank_, iou in zip(sentences, ranked, ranks, ious, strict=True)
    ]
    return Evaluation(
        metrics={"sentences": metrics.moments(ranked, times)},
        intervals={
            "sentences": metrics.bootstrap(
                lambda drawn: metrics.moments(ranked[drawn], [times[i] for i in drawn]), len(ranked)
            )
        },
        baselines={"chance": _chance(ranked, times, num_segments)},
        headline=[("sentences", "rank@1"), ("sentences", "mIoU")],
        explanation="rank@K: the share of sentences with their moment among the first K, by the "
        "mean of the three annotators who agree best. mIoU: mean intersection over union of the "
        f"first moment with theirs. Chance is the mean of {_RANDOM_ORDERS} random orders.",
        figures=[],
        groups=moment_cards.moments(predictions, base.videos(dataset)),
        predictions=predictions,
    )


def _records(dataset: Dataset) -> Iterator[Record]:
    for record in base.records(dataset, "moments"):
        if not record["moments"]["text"]:
            raise UserError(
                f"{dataset.path}: video {record['video_id']}: field moments is empty; moment "
                "retrieval needs one"
            )
        yield record


def _of(record: Record, video: int) -> Iterator[Record]:
    """Yields the sentences of a record."""
    moments = record["moments"]
    times = np.split(moments["times"], np.cumsum(moments["num_times"])[:-1])
    # One number for the video, as in the demo, or one for each sentence, as in DiDeMo.
    num_segments = np.broadcast_to(moments["num_segments"], len(times))
    for text, tokens, chosen, segments in zip(
        moments["text"], examples.tokens(moments), times, num_segments, strict=True
    ):
        yield {
            "video": video,
            "video_id": record["video_id"],
            "num_segments": segments,
            "text": text,
            "tokens": tokens,
            "times": chosen,
        }


def _videos(model: Model, dataset: Dataset) -> Iterator[Example]:
    for record in _records(dataset):
        features = record["features"]
        yield examples.video(model.module.config, features, Clip(0, len(features)))


def _chance(
    ranked: np.ndarray, times: list[np.ndarray], num_segments: np.ndarray
) -> dict[str, float]:
    """Averages the figures over random orders of the moments that exist in each video."""
    rng = np.random.default_rng(0)
    figures = []
    for _ in range(_RANDOM_ORDERS):
        order = rng.random(ranked.shape[:2]) + (ranked[..., 1] >= num_segments[:, None])
        shuffled = np.take_along_axis(ranked, order.argsort(axis=1)[..., None], axis=1)
        figures.append(metrics.moments(shuffled, times))
    return {name: float(np.mean([one[name] for one in figures])) for name in figures[0]}
