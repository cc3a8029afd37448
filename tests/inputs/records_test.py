"""Records keep texts, tokens and times together, and bad ones are refused with their name."""

from typing import Any

import numpy as np
import pytest

from vtmask import tokenizers
from vtmask.errors import UserError
from vtmask.inputs import records

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


def test_a_record_survives_its_serialisation() -> None:
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


@pytest.mark.parametrize("seconds", [1 / 3, 0.64, 16 / 30, 0.5, 2.0])
def test_times_at_the_edge_of_a_feature_stay_there(seconds: float) -> None:
    edges = np.arange(300)
    written = record()
    times = [(seconds * i, seconds * (i + 1), "now") for i in edges.tolist()]
    written["captions"] = records.encode_timed_texts(TOKENIZER, times)
    serialized = records.features(4).serialize_example(written)
    found = records.parse(
        [serialized], 4, seconds, {"captions": ("tokens", "num_tokens", "start", "end")}
    )["captions"]
    np.testing.assert_array_equal(found["start"][0], edges)
    np.testing.assert_array_equal(found["end"][0], edges + 1)


def test_what_no_model_should_see_is_refused() -> None:
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
