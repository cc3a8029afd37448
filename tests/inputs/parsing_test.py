"""Serialised records become dense tensors; times turn from seconds into features."""

from typing import Any

import numpy as np
import pytest

from vtmask import tokenizers
from vtmask.datasets import records
from vtmask.inputs import parsing

TOKENIZER = tokenizers.train(["slide the red ball", "now spin the blue box"] * 9, 40)


def record() -> dict[str, Any]:
    captions = [(4.0, 6.0, "spin the box"), (0.5, 2.0, "slide the ball"), (2.0, 2.0, "now")]
    return {
        "video_id": "v",
        "video": "",
        "features": np.ones((8, 4), np.float16),
        "captions": records.encode_timed_texts(TOKENIZER, captions),
        "descriptions": records.encode_texts(TOKENIZER, []),
    }


@pytest.mark.parametrize("seconds", [1 / 3, 0.64, 16 / 30, 0.5, 2.0])
def test_times_at_the_edge_of_a_feature_stay_there(seconds: float) -> None:
    edges = np.arange(300)
    written = record()
    times = [(seconds * i, seconds * (i + 1), "now") for i in edges.tolist()]
    written["captions"] = records.encode_timed_texts(TOKENIZER, times)
    serialized = records.features(4).serialize_example(written)
    actual = parsing.parse(
        [serialized], 4, seconds, {"captions": ("tokens", "num_tokens", "start", "end")}
    )["captions"]
    np.testing.assert_array_equal(actual["start"][0], edges)
    np.testing.assert_array_equal(actual["end"][0], edges + 1)


def test_labels_and_labelled_texts_are_read() -> None:
    """The videos have 8 and 3 features. The second one has a label too many."""
    fields = records.features(
        4,
        labels=records.integers(),
        steps=records.timed_texts() | {"label": records.integers()},
    )
    done = records.encode_timed_texts(TOKENIZER, [(0.5, 2.0, "spin the box"), (3.0, 4.0, "now")])
    undone = records.encode_timed_texts(TOKENIZER, [])
    serialized = [
        fields.serialize_example(record() | extra)
        for extra in (
            {
                "labels": np.arange(8, dtype=np.int32),
                "steps": done | {"label": np.array([7, 2], np.int32)},
            },
            {
                "features": np.ones((3, 4), np.float16),
                "labels": np.array([5, 6, 7, 8], np.int32),
                "steps": undone | {"label": np.array([], np.int32)},
            },
        )
    ]
    parts = ("tokens", "num_tokens", "start", "end", "label")
    actual = parsing.parse(serialized, 4, 0.5, {"labels": (), "steps": parts})
    assert actual["labels"]["count"].numpy().tolist() == [8, 4]
    assert actual["labels"]["class"].dtype == "int32"
    rows = [[0, 1, 2, 3, 4, 5, 6, 7, 0], [5, 6, 7, 8, 0, 0, 0, 0, 0]]
    assert actual["labels"]["class"].numpy().tolist() == rows
    steps = actual["steps"]
    assert steps["count"].numpy().tolist() == [2, 0]
    assert steps["label"].numpy().tolist() == [[7, 2], [0, 0]] and steps["label"].dtype == "int32"
    assert steps["start"].numpy().tolist() == [[1, 6], [0, 0]]
    assert steps["num_tokens"].numpy()[0].tolist() == done["num_tokens"].tolist()


def test_labels_beyond_all_features_are_cut_but_counted() -> None:
    fields = records.features(4, labels=records.integers())
    serialized = fields.serialize_example(record() | {"labels": np.arange(50, dtype=np.int32)})
    actual = parsing.parse([serialized], 4, 1.0, {"labels": ()})["labels"]
    assert actual["count"].numpy().tolist() == [50]
    assert actual["class"].numpy().tolist() == [[*range(9)]]
