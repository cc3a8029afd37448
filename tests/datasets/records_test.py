"""Records keep texts, tokens and times together; the error of a bad record names its video."""

from typing import Any

import numpy as np
import pytest

from vtmask import tokenizers
from vtmask.datasets import records
from vtmask.errors import UserError

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


def test_a_record_survives_serialisation() -> None:
    fields = records.features(4)
    written = record()
    read = fields.deserialize_example_np(fields.serialize_example(written))
    np.testing.assert_array_equal(read["features"], written["features"])
    assert read["features"].dtype == np.float16
    captions = read["captions"]
    assert [text.decode() for text in captions["text"]] == ["slide the ball", "now", "spin the box"]
    np.testing.assert_array_equal(captions["start"], [0.5, 2.0, 4.0])
    first = captions["tokens"][: captions["num_tokens"][0]]
    assert TOKENIZER.decode(first) == "slide the ball"
    assert len(captions["tokens"]) == sum(captions["num_tokens"])
    assert len(read["descriptions"]["num_tokens"]) == 0


def test_bad_records_are_refused() -> None:
    records.check("v", record())
    bad = record()
    bad["features"][5, 2] = np.nan
    with pytest.raises(UserError, match="video v: features of row 5 are not finite"):
        records.check("v", bad)
    bad = record()
    bad["features"] = bad["features"][:0]
    with pytest.raises(UserError, match=r"video v: features have shape \(0, 4\)"):
        records.check("v", bad)
    bad = record()
    bad["captions"]["end"][1] = 1.0
    with pytest.raises(UserError, match="video v: caption 1 ends at 1.0 s before it starts at 2.0"):
        records.check("v", bad)


def test_texts_with_equal_times_stay_in_order() -> None:
    lines = [(1.0, 2.0, "spin"), (0.0, 3.0, "b"), (1.0, 2.0, "box"), (0.0, 2.0, "z")]
    texts = records.encode_timed_texts(TOKENIZER, lines)["text"]
    assert texts == ["z", "b", "spin", "box"]
