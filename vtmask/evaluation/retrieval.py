"""Evaluates text-video retrieval: ranks all videos for every text, and the reverse."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from vtmask.errors import UserError
from vtmask.evaluation import base, cards, figures, metrics
from vtmask.evaluation.base import Evaluation, Record
from vtmask.export import Model
from vtmask.inputs import examples
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.examples import Clip, Example
from vtmask.ranking import Ranking, rank
from vtmask.tasks.retrieval import Retrieval

TEXT_TO_VIDEO, VIDEO_TO_TEXT = "text to video", "video to text"
_SHOWN = 10  # candidates saved per query


class Pairs(NamedTuple):
    """Texts, and the videos or clips that they describe.

    Attributes:
      videos: a name for each video or clip.
      ids: the id of the video of each entry of `videos`.
      places: start and end in seconds of clips, by name.
      texts: ordered by video.
      video_of: for each text, the index in `videos` of what it describes, int [texts].
    """

    videos: list[str]
    ids: list[str]
    places: dict[str, tuple[float, float]]
    texts: list[str]
    video_of: np.ndarray


def evaluate(model: Model, task: Retrieval, dataset: Dataset, settings: ConfigDict) -> Evaluation:
    """Ranks all videos for every text, and all texts for every video.

    Args:
      settings: `batch_size`, videos or texts per call; `field`, either "descriptions", which match
        the complete video, or a field of timed texts, each of which matches its own clip.

    Returns:
      A row for each direction, with the figures of `metrics.retrieval_of_ranks`.

    Raises:
      UserError: a video has no text.
    """
    pairs, tokens = _pairs(dataset, settings.field)
    clips = _clips(model, dataset, settings.field)
    videos = np.stack(
        list(base.apply(model, task.encoding.embed_video, clips, settings.batch_size, "videos"))
    )
    texts = base.embed_texts(model, task.encoding.embed_text, tokens, settings.batch_size)
    rankings = {
        TEXT_TO_VIDEO: rank(texts, videos, pairs.video_of, _SHOWN),
        VIDEO_TO_TEXT: rank(videos, texts, _texts_of(pairs), _SHOWN),
    }
    predictions = [
        line
        for direction, ranking in rankings.items()
        for line in _predictions(direction, ranking, pairs)
    ]
    shown = figures.evenly_spaced(len(videos))
    first_text = np.unique(pairs.video_of, return_index=True)[1]
    files, id_of = base.videos(dataset), dict(zip(pairs.videos, pairs.ids, strict=True))
    return Evaluation(
        metrics={
            direction: metrics.retrieval_of_ranks(ranking.ranks)
            for direction, ranking in rankings.items()
        },
        intervals={direction: _interval(ranking.ranks) for direction, ranking in rankings.items()},
        baselines={"chance": metrics.chance(len(videos))},
        headline=[(direction, column) for direction in rankings for column in ("R@1", "MedR")],
        explanation="R@K: the share of queries with a right answer among the first K (higher is "
        "better). MedR: the median rank of the right answer (1 is best). Ties count half. Chance "
        f"is that of text to video, with {len(videos)} candidates.",
        figures=[
            figures.heat_map(texts[first_text[shown]] @ videos[shown].T, len(videos)),
            figures.recall_curve(
                {direction: ranking.ranks for direction, ranking in rankings.items()}, len(videos)
            ),
        ],
        groups=cards.retrieval(
            predictions,
            lambda name: files(id_of[name]),
            {pairs.videos[pairs.video_of[i]]: pairs.texts[i] for i in first_text},
            len(videos),
            pairs.places,
        ),
        predictions=predictions,
    )


def _records(dataset: Dataset, field: str) -> Iterator[Record]:
    for record in base.records(dataset, field):
        if not record[field]["text"]:
            raise UserError(
                f"{dataset.path}: video {record['video_id']}: field {field} is empty; retrieval "
                "needs one"
            )
        yield record


def _pairs(dataset: Dataset, field: str) -> tuple[Pairs, list[np.ndarray]]:
    """Reads the pairs of a data set, and the token ids of each text."""
    videos: list[str] = []
    ids: list[str] = []
    places: dict[str, tuple[float, float]] = {}
    texts: list[str] = []
    video_of: list[int] = []
    tokens: list[np.ndarray] = []
    for record in _records(dataset, field):
        texts_of = record[field]
        texts += texts_of["text"]
        tokens += examples.tokens(texts_of)
        if "start" in texts_of:
            video_of += range(len(videos), len(videos) + len(texts_of["text"]))
            times = list(zip(texts_of["start"].tolist(), texts_of["end"].tolist(), strict=True))
            names = [f"{record['video_id']} {start:g}–{end:g} s" for start, end in times]
            videos += names
            places |= zip(names, times, strict=True)
        else:
            video_of += [len(videos)] * len(texts_of["text"])
            videos.append(record["video_id"])
        ids += [record["video_id"]] * (len(videos) - len(ids))
    return Pairs(videos, ids, places, texts, np.array(video_of)), tokens


def _clips(model: Model, dataset: Dataset, field: str) -> Iterator[Example]:
    for record in _records(dataset, field):
        features = record["features"]
        clips = [Clip(0, len(features))]
        if "start" in record[field]:
            clips = examples.clips(record[field], dataset.seconds_per_feature, len(features))
        for clip in clips:
            yield examples.video(model.module.config, features, clip)


def _texts_of(pairs: Pairs) -> np.ndarray:
    """Returns the indices of each video's texts: int [videos, K], filled up with -1."""
    counts = np.bincount(pairs.video_of, minlength=len(pairs.videos))
    first = np.cumsum(counts) - counts  # texts come in the order of their videos
    offset = np.arange(counts.max())
    return np.where(offset < counts[:, None], first[:, None] + offset, -1)


def _interval(ranks: np.ndarray) -> dict[str, tuple[float, float]]:
    return metrics.bootstrap(lambda drawn: metrics.retrieval_of_ranks(ranks[drawn]), len(ranks))


def _predictions(direction: str, ranking: Ranking, pairs: Pairs) -> Iterator[dict[str, Any]]:
    names: Sequence[str] = pairs.videos
    queries: Sequence[str] = pairs.texts
    right: Sequence[Any] = [pairs.videos[video] for video in pairs.video_of]
    if direction == VIDEO_TO_TEXT:
        names, queries = queries, names
        right = [[names[text] for text in texts if text >= 0] for texts in _texts_of(pairs)]
    for row, query in enumerate(queries):
        yield {
            "direction": direction,
            "query": query,
            "right": right[row],
            "rank": float(ranking.ranks[row]),
            "score": float(ranking.right_scores[row]),
            "retrieved": [
                {"id": names[index], "score": float(score)}
                for index, score in zip(
                    ranking.top_indices[row], ranking.top_scores[row], strict=True
                )
            ],
        }
