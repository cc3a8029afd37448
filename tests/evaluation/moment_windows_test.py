"""Moments are retrieved as windows of seconds: candidates, scores and a complete evaluation."""

from typing import Any

import in_memory
import numpy as np
import pytest
from in_memory import InMemory
from ml_collections import ConfigDict

from vtmask.datasets import records
from vtmask.errors import UserError
from vtmask.evaluation import moment_metrics, moment_retrieval, moment_windows
from vtmask.tasks.moments import MomentRetrieval

SETTINGS = ConfigDict({"batch_size": 2, "stride": 4})


def test_candidates_are_all_runs_of_cells() -> None:
    runs = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert moment_windows.candidates(3).tolist() == runs
    long = moment_windows.candidates(161)  # cells of 3 features, the last of 2
    assert len(long) == 54 * 55 // 2 and [159, 161] in long.tolist() and long.max() == 161
    assert set(np.unique(long)) == {*range(0, 160, 3), 161}


def test_contrast_is_the_difference_of_means_in_standard_errors() -> None:
    scores = np.random.default_rng(0).standard_normal((2, 7))
    windows = moment_windows.candidates(7)
    actual = moment_windows.contrast(scores, windows)
    for row, values in enumerate(scores):
        for place, (start, stop) in enumerate(windows):
            inside, outside = values[start:stop], np.delete(values, np.s_[start:stop])
            if not len(outside):
                assert actual[row, place] == 0
                continue
            error = np.sqrt(1 / len(inside) + 1 / len(outside))
            expected = (inside.mean() - outside.mean()) / error
            assert actual[row, place] == pytest.approx(expected)


def test_a_noisy_stretch_is_found_completely() -> None:
    scores = np.random.default_rng(1).normal(0, 0.3, (1, 60))
    scores[0, 20:35] += 1
    windows = moment_windows.candidates(60)
    best = windows[moment_windows.contrast(scores, windows).argmax()]
    assert moment_metrics.ious(best[None], np.array([[20, 35]])) > 0.8


def test_windows_that_overlap_a_better_one_are_suppressed() -> None:
    windows = np.array([[0, 10], [0, 9], [0, 5], [20, 30], [0, 4]])
    order = np.array([1, 0, 3, 2, 4])
    # [0, 10] has IoU 0.9 with the first, [0, 5] has 5/9, [0, 4] has 4/9.
    assert moment_windows.suppress(windows, order).tolist() == [1, 3, 4]
    many = np.stack([np.arange(20), np.arange(20) + 1], 1)
    assert moment_windows.suppress(many, np.arange(20)).tolist() == list(range(10))


def moments(*windows: list[list[float]]) -> dict[str, Any]:
    lines = in_memory.TEXTS[: len(windows)]
    return records.encode_texts(in_memory.TOKENIZER, lines) | {
        "windows": np.array(sum(windows, []), np.float32).reshape(-1, 2),
        "num_windows": np.array(list(map(len, windows)), np.int32),
        "qid": np.arange(7, 7 + len(windows), dtype=np.int32),
    }


def test_an_evaluation_agrees_with_its_predictions() -> None:
    dataset: Any = InMemory(
        [
            in_memory.record(0, 9, moments=moments([[0, 4], [10, 12]], [[2, 18]])),
            in_memory.record(1, 14, moments=moments()),
            in_memory.record(2, 14, moments=moments([[0, 28]])),
        ],
        seconds_per_feature=2.0,
    )
    task = MomentRetrieval(None)
    actual = moment_retrieval.evaluate(in_memory.model(), task, dataset, SETTINGS)
    assert [p["qid"] for p in actual.predictions] == [7, 8, 7]
    assert [p["seconds"] for p in actual.predictions] == [18, 18, 28]
    assert actual.predictions[0]["relevant_windows"] == [[0, 4], [10, 12]]
    first, precisions = [], []
    for prediction in actual.predictions:
        ranked = np.array(prediction["pred_relevant_windows"])
        assert (np.diff(ranked[:, 2]) <= 0).all() and (ranked[:, :2] % 2 == 0).all()
        right = np.array(prediction["relevant_windows"])
        first.append(moment_metrics.ious(ranked[:1, :2], right).max())
        precisions.append(moment_metrics.average_precision(ranked[:, :2], right))
        assert prediction["IoU"] == pytest.approx(first[-1])
    expected = moment_metrics.windows(np.array(first), np.stack(precisions))
    assert actual.metrics == {"sentences": pytest.approx(expected)}
    chance = actual.baselines["chance"]
    assert all(0 <= value <= 1 for value in chance.values()) and chance["mIoU"] > 0
    assert sum(len(group.cards) for group in actual.groups) == 3


@pytest.mark.parametrize(
    ("given", "problem"),
    [(moments(), "moments is empty in all videos"), (moments([]), "has no window; take a split")],
)
def test_data_without_windows_is_refused(given: dict[str, Any], problem: str) -> None:
    dataset: Any = InMemory([in_memory.record(0, moments=given)])
    with pytest.raises(UserError, match=problem):
        moment_retrieval.evaluate(in_memory.model(), MomentRetrieval(None), dataset, SETTINGS)
