"""Clips are drawn from windows of the published distribution, and hold what is in them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import chi2

from vtmask.inputs import clips
from vtmask.models import VLMSizes

BERT = VLMSizes(pad_id=0, cls_id=101, sep_id=102, mask_id=103, feature_size=4)


def test_text_windows_have_the_published_distribution(golden_dir: Path) -> None:
    golden = json.loads((golden_dir / "clip_sampling.json").read_text())
    for name, published in golden["text_windows"].items():
        found, draws = draw_windows(golden, name), golden["draws_per_case"]
        assert found.keys() == published.keys(), name
        # Both sides are samples of `draws`, so each difference has twice the variance of one.
        statistic = sum(
            (found[window] - share * draws) ** 2 / (2 * share * draws)
            for window, share in published.items()
        )
        assert statistic <= chi2.ppf(0.9999, max(len(published) - 1, 1)), name


def draw_windows(golden: dict[str, Any], name: str) -> Counter[str]:
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
    return Counter(f"{a}-{b}" for a, b in zip(first.numpy(), last.numpy(), strict=True))


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
