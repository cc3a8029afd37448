"""Clips have the published window distribution, cutting and padding."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from vtmask.inputs import clips
from vtmask.models import VLMSizes

BERT = VLMSizes(pad_id=0, cls_id=101, sep_id=102, mask_id=103, feature_size=4)
CHI_SQUARE_999 = {0: 0.0, 1: 10.83, 2: 13.82, 5: 20.52, 9: 27.88}  # 99.9 % by degrees of freedom


def window_cases() -> list[str]:
    path = Path(__file__).parents[1] / "golden" / "clip_sampling.json"
    return list(json.loads(path.read_text())["text_windows"])


@pytest.mark.parametrize("name", window_cases())
def test_text_windows_have_the_published_distribution(golden_dir: Path, name: str) -> None:
    golden = json.loads((golden_dir / "clip_sampling.json").read_text())
    num_tokens = tf.constant(golden["captions"]["num_tokens"])
    count, draws = len(num_tokens), golden["draws_per_case"]
    where, wanted = (field.split("=")[1] for field in name.split(","))
    center = (
        tf.random.stateless_uniform([draws], [1, 2], 0, count, tf.int32)
        if where == "None"
        else tf.fill([draws], int(where))
    )
    left = tf.random.stateless_uniform([draws, count], [3, 4], 0, 2, tf.int32)
    first, last = clips.text_windows(num_tokens, center, tf.fill([draws], int(wanted)), left)

    found = Counter(f"{a}-{b}" for a, b in zip(first.numpy(), last.numpy(), strict=True))
    published = golden["text_windows"][name]
    assert found.keys() == published.keys()
    # Both sides are samples of `draws`, so each difference has twice the variance of one.
    statistic = sum(
        (found[window] - share * draws) ** 2 / (2 * share * draws)
        for window, share in published.items()
    )
    assert statistic <= CHI_SQUARE_999[len(published) - 1]


def test_video_is_cut_and_padded_as_published(golden_dir: Path) -> None:
    for case in json.loads((golden_dir / "sequences.json").read_text())["video"]:
        video, mask = clips.cut_video(
            tf.constant(case["features"], tf.float32),
            tf.constant([case["start"]]),
            tf.constant([case["end"]]),
            len(case["vmasks"]),
        )
        np.testing.assert_array_equal(mask[0], case["vmasks"])
        np.testing.assert_array_equal(video[0], np.float32(case["vfeats"]))


def test_text_is_cut_and_padded_as_published(golden_dir: Path) -> None:
    cases = json.loads((golden_dir / "sequences.json").read_text())["text"]
    tokens = [token for case in cases for token in case["token_ids"]]
    ends = np.cumsum([len(case["token_ids"]) for case in cases])
    starts = ends - [len(case["token_ids"]) for case in cases]
    text, mask = clips.cut_text(
        tf.constant(tokens), tf.constant(starts, tf.int32), tf.constant(ends, tf.int32), 62, 102, 0
    )
    for i, case in enumerate(cases):
        np.testing.assert_array_equal([101, 102, *text[i].numpy()], case["caps"])
        np.testing.assert_array_equal([True, True, *mask[i].numpy()], case["cmasks"])


def record(num_captions: int, seconds: int = 50) -> dict[str, Any]:
    """Caption i lasts from second 3 i to 3 i + 2 and is the tokens 200 + i, six times."""
    index = np.arange(num_captions)
    texts = {
        "tokens": tf.constant(np.repeat(200 + index, 6), tf.int32),
        "num_tokens": tf.fill([num_captions], 6),
    }
    return {
        "video_id": tf.constant("v"),
        "features": tf.repeat(tf.cast(tf.range(seconds), tf.float16)[:, None], 4, axis=1),
        "captions": texts
        | {
            "start": tf.constant(3.0 * index, tf.float32),
            "end": tf.constant(3.0 * index + 2, tf.float32),
        },
        "descriptions": texts,
    }


def test_caption_windows_take_the_video_between_their_captions() -> None:
    sampler = clips.CaptionWindows(BERT, clips_per_record=200)
    drawn = {k: v.numpy() for k, v in sampler(record(12), tf.constant([1, 2])).items()}
    assert drawn["video"].shape == (200, 32, 4) and drawn["video"].dtype == np.float16
    lengths = set()
    for video, video_mask, text, text_mask in zip(*drawn.values(), strict=True):
        words = text[text_mask][:-1]
        assert text[text_mask][-1] == 102 and (text[~text_mask] == 0).all()
        first, last = words[0] - 200, words[-1] - 200
        seconds = np.arange(3 * first, min(3 * last + 2, 3 * first + 32))
        np.testing.assert_array_equal(video[video_mask][:, 0], seconds)
        lengths.add(len(words))
    assert min(lengths) == 12 and max(lengths) == 61  # 8 tokens need two captions, 61 cut eleven


def test_a_video_without_captions_gives_clips_without_text() -> None:
    drawn = clips.CaptionWindows(BERT, clips_per_record=2)(record(0), tf.constant([1, 2]))
    assert drawn["video_mask"].numpy().all()
    np.testing.assert_array_equal(drawn["text_mask"].numpy().sum(axis=1), [1, 1])


def test_descriptions_are_drawn_or_the_first() -> None:
    seeds = [tf.constant([0, i]) for i in range(40)]
    drawn = {int(clips.Descriptions(BERT, random=True)(record(3), s)["text"][0, 0]) for s in seeds}
    assert drawn == {200, 201, 202}
    assert int(clips.Descriptions(BERT, random=False)(record(3), seeds[0])["text"][0, 0]) == 200


def test_a_video_without_description_is_an_error_with_its_name() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="<<video v: field descriptions"):
        clips.Descriptions(BERT, random=True)(record(0), tf.constant([1, 2]))
