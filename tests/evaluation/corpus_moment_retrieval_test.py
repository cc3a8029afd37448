"""Corpus moment retrieval follows its definition, and chance agrees with random draws."""

from typing import Any

import in_memory
import numpy as np
import pytest
from in_memory import InMemory
from ml_collections import ConfigDict

from vtmask.datasets import records
from vtmask.errors import UserError
from vtmask.evaluation import corpus_moment_retrieval as evaluation
from vtmask.evaluation import corpus_queries, moment_metrics
from vtmask.evaluation.corpus_moment_retrieval import Retrieved
from vtmask.evaluation.corpus_queries import Queries
from vtmask.tasks import MomentRetrieval

SETTINGS = ConfigDict({"batch_size": 2, "stride": 3, "field": "steps"})


def timed(*texts: tuple[float, float, str]) -> dict[str, Any]:
    return records.encode_timed_texts(in_memory.TOKENIZER, texts)


def test_the_first_right_moment_counts() -> None:
    moments = Retrieved(
        np.array([1, 0, 0, 0]), np.array([[0, 4], [6, 9], [2, 4], [0, 4.0]]), np.zeros(4)
    )
    right = np.array([0]), np.array([[0, 4.0]])
    assert evaluation.first_right(moments, *right, 1, iou=0.5) == 3  # an IoU of 0.5 is enough
    assert evaluation.first_right(moments, *right, 1, iou=0.7) == 4
    assert evaluation.first_right(moments, np.array([2]), right[1], 1, iou=0.3) == np.inf
    any_of_two = np.array([0, 1]), np.array([[0, 4.0], [0, 4.0]])
    assert evaluation.first_right(moments, *any_of_two, 1, iou=0.7) == 1


def test_a_moment_must_agree_with_two_annotators() -> None:
    moments = Retrieved(np.zeros(3, int), np.array([[0, 5], [5, 10], [0, 10.0]]), np.zeros(3))
    chosen = np.zeros(3, int), np.array([[0, 5], [0, 10], [10, 15.0]])
    assert evaluation.first_right(moments, *chosen, 1, iou=0.5) == 1
    assert evaluation.first_right(moments, *chosen, 2, iou=0.5) == 1  # the IoU with [0, 10] is 0.5
    assert evaluation.first_right(moments, *chosen, 2, iou=0.7) == np.inf
    assert evaluation.first_right(moments, chosen[0][1:], chosen[1][1:], 2, iou=0.3) == np.inf


def test_recalls() -> None:
    actual = evaluation.recalls(np.array([1, 5, 6, np.inf]))
    assert actual == {"R@1": 0.25, "R@5": 0.5, "R@10": 0.75, "R@100": 0.75}


def test_chance_equals_that_of_random_draws() -> None:
    queries = Queries(
        ["a", "b"],
        [],
        [np.array([1]), np.array([0, 2])],
        [np.array([[2.0, 6.0]]), np.array([[0.0, 3.0], [4.0, 8.0]])],
        [1, 1],
    )
    seconds, draws = np.array([5.0, 9.0, 8.0]), 20_000
    rng = np.random.default_rng(0)
    places = [(video, start) for video in range(3) for start in range(int(seconds[video]))]
    rows = [places[i] for i in rng.integers(len(places), size=draws)]
    videos = np.array([video for video, _ in rows])
    starts = np.array([start for _, start in rows], float)
    ends = np.minimum(starts + rng.choice([4, 3, 4], draws), seconds[videos])
    for iou in (0.3, 0.7):
        drawn = Retrieved(videos, np.stack([starts, ends], axis=1), starts)
        hits = [
            ((drawn.videos[:, None] == right) & (moment_metrics.ious(drawn.times, times) >= iou))
            .any(axis=1)
            .reshape(-1, 5)
            for right, times in zip(queries.videos, queries.times, strict=True)
        ]
        actual = evaluation.chance(queries, seconds, iou)
        assert actual["R@1"] == pytest.approx(np.mean(hits), abs=0.01)
        assert actual["R@5"] == pytest.approx(np.mean([hit.any(axis=1) for hit in hits]), abs=0.02)


def test_the_highest_second_gives_its_moment() -> None:
    """Scores are set by hand: the text's moment is the only high one."""
    scores = np.zeros(30)
    scores[12:16] = [3, 5, 5, 3]
    actual = evaluation.retrieve(scores, np.array([10, 20]), seconds_per_feature=0.5)
    assert (actual.videos[0], actual.times[0].tolist()) == (1, [1.0, 3.0])
    assert actual.scores[0] == 5


def test_equal_texts_accept_any_of_their_moments() -> None:
    steps = [
        timed((0, 4, "spin the blue box"), (5, 8, "lift a star")),
        timed((2, 6, "spin the blue box")),
    ]
    data = InMemory([in_memory.record(i, 9, steps=steps[i]) for i in range(2)])
    model = in_memory.model()
    actual = evaluation.evaluate(model, MomentRetrieval(), data, SETTINGS)
    spin, lift = actual.predictions
    assert [right["video_id"] for right in spin["right"]] == ["v0", "v1"]
    assert [right["time"] for right in lift["right"]] == [[5, 8]]
    for row, iou in enumerate(evaluation.IOUS):
        ranks = [p["ranks"][f"IoU {iou}"] for p in actual.predictions]
        for depth in evaluation.DEPTHS:
            expected = np.mean([rank is not None and rank <= depth for rank in ranks])
            assert list(actual.metrics.values())[row][f"R@{depth}"] == expected
            low, high = list(actual.intervals.values())[row][f"R@{depth}"]
            assert low <= expected <= high


def test_moments_are_read_from_their_field() -> None:
    """DiDeMo's moments are segments by each annotator; others are windows in seconds."""
    queries = corpus_queries.read(in_memory.dataset(1), "moments")
    segments = [[[0, 5], [0, 9]], [[5, 9]]]  # the second segment ends with the video
    assert [times.tolist() for times in queries.times] == segments
    assert queries.agreement == [2, 1]

    windows = {"windows": np.array([[0, 3], [5, 9], [2, 4.5]]), "num_windows": np.array([2, 0, 1])}
    moments = in_memory.texts("spin the blue box", "nowhere", "lift a star") | windows
    data: Any = InMemory([in_memory.record(0, moments=moments)])
    queries = corpus_queries.read(data, "moments")
    assert queries.texts == ["spin the blue box", "lift a star"]  # the other has no window
    assert [times.tolist() for times in queries.times] == [[[0, 3], [5, 9]], [[2, 4.5]]]
    assert queries.agreement == [1, 1]


@pytest.mark.parametrize(
    ("field", "problem"), [("descriptions", "has no times"), ("none", "no field 'none'")]
)
def test_a_field_that_does_not_fit_is_refused(field: str, problem: str) -> None:
    settings = ConfigDict({**SETTINGS.to_dict(), "field": field})
    with pytest.raises(UserError, match=problem):
        evaluation.evaluate(in_memory.model(), MomentRetrieval(), in_memory.dataset(), settings)


def test_a_split_without_texts_is_refused() -> None:
    data = InMemory([in_memory.record(0, steps=timed())])
    with pytest.raises(UserError, match="no video of test has steps"):
        evaluation.evaluate(in_memory.model(), MomentRetrieval(), data, SETTINGS)
