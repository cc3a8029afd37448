"""Evaluates moment retrieval with times in seconds (ActivityNet, Charades-STA, QVHighlights)."""

from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from vtmask.errors import UserError
from vtmask.evaluation import base, metrics, moment_cards, moment_metrics
from vtmask.evaluation.base import Evaluation, Record
from vtmask.export import Model
from vtmask.inputs import examples
from vtmask.inputs.dataset import Dataset
from vtmask.tasks.moments import MomentRetrieval

CELLS = 80  # of a video, at most; 2 s each in 150 s, as in QVHighlights' annotations
_KEPT = 10  # windows per query, as QVHighlights counts them
_OVERLAP = 0.5  # highest IoU of two windows that are kept
_RANDOM_ORDERS = 10  # whose mean is chance


def evaluate(
    model: Model, task: MomentRetrieval, dataset: Dataset, settings: ConfigDict
) -> Evaluation:
    """Measures the figures of `moment_metrics.windows` over all sentences.

    A frame's score is the dot product of its hidden state with the pooled sentence. Videos longer
    than `max_video_len` frames run in windows of this length.

    Args:
      settings: `batch_size`, windows or sentences per call, and `stride`, frames from the start of
        one of the model's windows to the next.

    Raises:
      UserError: no video has moments, or one has a sentence without a window.
    """
    records = list(base.records(dataset, "moments"))
    sentences = [sentence for record in records for sentence in _of(dataset, record)]
    if not sentences:
        raise UserError(f"{dataset.path}: field moments is empty in all videos; expected sentences")
    texts = base.embed_texts(
        model,
        task.encoding.embed_text,
        [sentence["tokens"] for sentence in sentences],
        settings.batch_size,
    )
    hidden = base.over_windows(
        model, task.encoding.encode_frames, dataset, settings.batch_size, settings.stride
    )
    rng = np.random.default_rng(0)
    predictions, precisions, by_chance = [], [], []
    todo = iter(zip(sentences, texts, strict=True))
    for record, frames in zip(records, hidden, strict=True):
        places = candidates(len(frames))
        seconds = places * dataset.seconds_per_feature
        for _ in record["moments"]["text"]:
            sentence, text = next(todo)
            scores = contrast((frames @ text)[None], places)[0]
            if not np.isfinite(scores).all():
                raise UserError(
                    f"{dataset.path}: video {record['video_id']}: scores are not finite; check the "
                    "features and the checkpoint for NaN"
                )
            right = sentence["windows"]
            kept = suppress(seconds, np.argsort(-scores, kind="stable"))
            precisions.append(moment_metrics.average_precision(seconds[kept], right))
            predictions.append(
                sentence["names"]
                | {
                    "pred_relevant_windows": [
                        [*seconds[i].tolist(), float(scores[i])] for i in kept
                    ],
                    "relevant_windows": right.tolist(),
                    "seconds": len(frames) * dataset.seconds_per_feature,
                    "IoU": float(moment_metrics.ious(seconds[kept[:1]], right).max()),
                    "AP": float(precisions[-1].mean()),
                }
            )
            by_chance += [
                _figures(seconds, suppress(seconds, rng.permutation(len(seconds))), right)
                for _ in range(_RANDOM_ORDERS)
            ]
    first, precision = np.array([p["IoU"] for p in predictions]), np.stack(precisions)
    drawn_first, drawn_precision = map(np.stack, zip(*by_chance, strict=True))
    return Evaluation(
        metrics={"sentences": moment_metrics.windows(first, precision)},
        intervals={
            "sentences": metrics.bootstrap(
                lambda drawn: moment_metrics.windows(first[drawn], precision[drawn]), len(first)
            )
        },
        baselines={"chance": moment_metrics.windows(drawn_first, drawn_precision)},
        headline=[("sentences", "R@1, IoU 0.5"), ("sentences", "mAP")],
        explanation="R@1, IoU 0.5: the share of sentences whose first window has an intersection "
        "over union of 0.5 or more with an annotated one. mAP: average precision of the first "
        f"{_KEPT} windows, mean over IoU 0.5 to 0.95. mIoU: mean IoU of the first window. Chance "
        f"is the mean of {_RANDOM_ORDERS} random orders.",
        figures=[],
        groups=moment_cards.moment_windows(predictions, base.videos(dataset)),
        predictions=predictions,
    )


def candidates(features: int) -> np.ndarray:
    """Lists all windows of a video that consist of complete cells.

    A cell is one feature, or several if the video has more than `CELLS`. The last may be shorter.

    Returns:
      the first feature and the end of each window, int [n * (n + 1) / 2, 2] for n cells.
    """
    cell = -(-features // CELLS)
    edges = np.append(np.arange(0, features, cell), features)
    first, last = np.triu_indices(len(edges) - 1)
    return np.stack([edges[first], edges[last + 1]], axis=1)


def contrast(scores: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Computes how far the mean score inside a window is above that outside, in standard errors.

    This is the scan statistic for a segment with a different mean (Olshen et al., Biostatistics
    2004), up to the scores' standard deviation. The mean inside alone would always prefer the
    single best frame.

    Args:
      scores: of frames, [S, F].
      windows: first frame and end of each window, int [C, 2].

    Returns:
      [S, C]; 0 for the complete video.
    """
    frames = scores.shape[1]
    centred = scores - scores.mean(axis=1, keepdims=True)
    sums = np.pad(centred.cumsum(axis=1), ((0, 0), (1, 0)))
    start, stop = windows.T
    inside = stop - start
    outside = frames - inside
    spread = np.sqrt(np.where(outside, frames / (inside * np.maximum(outside, 1)), 0.0))
    return (sums[:, stop] - sums[:, start]) * spread


def suppress(windows: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Keeps the first ten windows, skipping any with an IoU above 0.5 with one kept before.

    Args:
      windows: start and end, [C, 2].
      order: indices of windows, best first, int [C].

    Returns:
      indices of the kept windows, in order, int [at most 10].
    """
    kept: list[int] = []
    while len(order) and len(kept) < _KEPT:
        kept.append(int(order[0]))
        overlap = moment_metrics.ious(windows[order], windows[order[:1]])[:, 0]
        order = order[overlap <= _OVERLAP]
    return np.array(kept)


def _of(dataset: Dataset, record: Record) -> Iterator[Record]:
    """Yields the sentences of a record: `names` for predictions, `tokens` and `windows`."""
    moments = record["moments"]
    ends = np.cumsum(moments["num_windows"])
    for index, (text, tokens) in enumerate(
        zip(moments["text"], examples.tokens(moments), strict=True)
    ):
        windows = moments["windows"][ends[index] - moments["num_windows"][index] : ends[index]]
        if not len(windows):
            raise UserError(
                f"{dataset.path}: video {record['video_id']}: {text[:60]!r} has no window; take a "
                "split whose windows are published"
            )
        names = {"video_id": record["video_id"], "text": text}
        if "qid" in moments:
            names["qid"] = int(moments["qid"][index])
        yield {"names": names, "tokens": tokens, "windows": windows.astype(float)}


def _figures(
    seconds: np.ndarray, kept: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the IoU of the first window, and the average precision."""
    first = moment_metrics.ious(seconds[kept[:1]], right).max()
    return first, moment_metrics.average_precision(seconds[kept], right)
