"""Evaluation cuts clips and texts as training does."""

from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vtmask import tokenizers
from vtmask.datasets import records
from vtmask.inputs import cutting, examples, parsing
from vtmask.inputs.examples import Clip
from vtmask.models import VLMConfig

CONFIG = VLMConfig(pad_id=0, cls_id=2, sep_id=3, feature_size=2, max_video_len=5, max_len=11)
TOKENIZER = tokenizers.train(["slide the red ball", "now spin the blue box"] * 9, 40)


@given(st.integers(1, 9), st.data())
@settings(max_examples=40)
def test_videos_are_cut_as_in_training(length: int, data: st.DataObject) -> None:
    start, stop = sorted(data.draw(st.integers(0, length)) for _ in range(2))
    features = np.arange(2 * length, dtype=np.float16).reshape(length, 2) + 1
    actual = examples.video(CONFIG, features, Clip(start, stop))
    dense = tf.pad(features[None], [[0, 0], [0, 1], [0, 0]])
    video, mask = cutting.cut_video(dense, tf.constant([[start]]), tf.constant([[stop]]), 5)
    np.testing.assert_array_equal(actual["video"], video[0, 0])
    np.testing.assert_array_equal(actual["video_mask"], mask[0, 0])
    assert actual["video"].dtype == np.float16


@given(st.lists(st.integers(5, 30), max_size=9))
@settings(max_examples=30)
def test_texts_are_cut_as_in_training(ids: list[int]) -> None:
    actual = examples.text(CONFIG, np.array(ids, np.int32))
    ends = tf.constant([[0]]), tf.constant([[len(ids)]])
    text, mask = cutting.cut_text(tf.constant([ids], tf.int32), *ends, CONFIG.max_text_len, 3, 0)
    np.testing.assert_array_equal(actual["text"], text[0, 0])
    np.testing.assert_array_equal(actual["text_mask"], mask[0, 0])
    assert actual["text"].dtype == np.int32


TIME = st.floats(0, 40, width=32, allow_subnormal=False)  # TensorFlow takes subnormal numbers for 0
TIMES = st.lists(st.tuples(TIME, TIME).map(sorted), max_size=4)


@pytest.mark.parametrize("seconds", [1.0, 0.64, 16 / 30, 2.0])
@given(TIMES, st.integers(1, 30))
@settings(max_examples=40)
@example([[0.0, 0.0], [3.0, 3.000244140625], [2.9998, 5.0], [35.0, 40.0]], 30)
@example([[0.64 * 7, 0.64 * 11], [16 / 30 * 7, 16 / 30 * 11]], 30)
def test_times_become_features_as_in_training(
    seconds: float, times: Sequence[Sequence[float]], num_features: int
) -> None:
    written = records.encode_timed_texts(TOKENIZER, [(start, end, "now") for start, end in times])
    fields = records.features(2)
    empty = records.encode_texts(TOKENIZER, [])
    serialized = fields.serialize_example(
        {
            "video_id": "v",
            "video": "",
            "features": np.ones((num_features, 2), np.float16),
            "captions": written,
            "descriptions": empty,
        }
    )
    parts = {"captions": ("tokens", "num_tokens", "start", "end")}
    read = parsing.parse([serialized], 2, seconds, parts)
    captions = read["captions"]
    start, stop = cutting.whole_features(captions["start"], captions["end"], read["num_features"])
    expected = list(zip(start[0].numpy().tolist(), stop[0].numpy().tolist(), strict=True))
    assert examples.clips(written, seconds, num_features) == expected


def test_tokens_are_split_by_their_counts() -> None:
    lines = ["slide the ball", "", "now"]
    actual = examples.tokens(records.encode_texts(TOKENIZER, lines))
    assert [tokens.tolist() for tokens in actual] == TOKENIZER.encode(lines)
    assert examples.tokens(records.encode_texts(TOKENIZER, [])) == []


@pytest.mark.parametrize(("number", "counts"), [(0, []), (3, [3]), (6, [3, 3]), (7, [3, 3, 1])])
def test_a_stack_is_filled_up_and_counted(number: int, counts: list[int]) -> None:
    numbered = ({"x": np.array([i, -i])} for i in range(number))
    actual = list(examples.stack(numbered, 3))
    assert [count for _, count in actual] == counts
    assert all(batch["x"].shape == (3, 2) for batch, _ in actual)
    counted = [row for batch, count in actual for row in batch["x"][:count, 0].tolist()]
    assert counted == [*range(number)]
