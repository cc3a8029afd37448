"""Clips are drawn from windows of the published distribution, and hold what is in them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import chi2

from vtmask.errors import UserError
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
    num_tokens = tf.constant([golden["captions"]["num_tokens"]])
    count, draws = num_tokens.shape[1], golden["draws_per_case"]
    where, wanted = (field.split("=")[1] for field in name.split(","))
    center = (
        tf.random.stateless_uniform([1, draws], [1, 2], 0, count, tf.int32)
        if where == "None"
        else tf.fill([1, draws], int(where))
    )
    side = random(1, draws, 1)[..., 0]
    wanted = tf.fill([1, draws], int(wanted))
    first, last = clips.text_windows(num_tokens, tf.constant([count]), center, wanted, side)
    return Counter(f"{a}-{b}" for a, b in zip(first[0].numpy(), last[0].numpy(), strict=True))


def random(*shape: int) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, [3, 4], None, None, tf.int64)


def records(*num_captions: int, seconds: int = 50) -> dict[str, Any]:
    """Videos of `seconds`, `seconds` - 1, …; in each caption i lasts from second 3 i to 3 i + 2 and
    is the tokens 200 + i, six times. A feature is its second."""
    lengths = np.array([seconds - i for i in range(len(num_captions))])
    time = np.arange(seconds + 1)
    index = np.arange(max(num_captions))
    inside = index < np.array(num_captions)[:, None]
    features = np.where(time < lengths[:, None], time, 0)[..., None] * np.ones(4)
    texts = {
        "count": tf.constant(num_captions),
        "num_tokens": tf.constant(np.where(inside, 6, 0), tf.int32),
        "tokens": tf.constant(np.repeat(np.where(inside, 200 + index, 0), 6, axis=1), tf.int32),
    }
    return {
        "video_id": tf.constant([f"v{i}" for i in range(len(num_captions))]),
        "path": tf.constant(["data"] * len(num_captions)),
        "num_features": tf.constant(lengths, tf.int32),
        "features": tf.constant(features, tf.float16),
        "captions": texts
        | {
            "start": tf.constant(np.where(inside, 3.0 * index, 0), tf.float32),
            "end": tf.constant(np.where(inside, 3.0 * index + 2, 0), tf.float32),
        },
        "descriptions": texts,
    }


def drawn(sampler: clips.Sampler, record: dict[str, Any]) -> dict[str, np.ndarray]:
    """The clips of all records, one after the other."""
    shape = len(record["num_features"]), sampler.clips_per_record, sampler.draws
    found = sampler(record, random(*shape))
    return {name: x.numpy().reshape(-1, *x.shape[2:]) for name, x in found.items()}


def test_video_windows_have_the_published_distribution(golden_dir: Path) -> None:
    golden = json.loads((golden_dir / "clip_sampling.json").read_text())
    draws = golden["draws_per_case"]
    for name, published in golden["video_windows"].items():
        seconds, length, center = (int(field.split("=")[1]) for field in name.split(","))
        start, end = clips.video_windows(
            tf.constant([[seconds]]),
            tf.fill([1, draws], center),
            tf.fill([1, draws], length),
            random(1, draws, 1)[..., 0],
        )
        found = Counter(f"{a}-{b}" for a, b in zip(start[0].numpy(), end[0].numpy(), strict=True))
        assert found.keys() == published.keys(), name
        statistic = sum(
            (found[window] - share * draws) ** 2 / (2 * share * draws)
            for window, share in published.items()
        )
        assert statistic <= chi2.ppf(0.9999, max(len(published) - 1, 1)), name


def test_caption_windows_take_the_video_between_their_captions() -> None:
    found = drawn(clips.CaptionWindows(BERT, clips_per_record=200), records(12, 9))
    assert found["video"].shape == (400, 32, 4) and found["video"].dtype == np.float16
    lengths = set()
    for video, video_mask, text, text_mask in zip(*found.values(), strict=True):
        words = text[text_mask][:-1]
        assert text[text_mask][-1] == 102 and (text[~text_mask] == 0).all()
        first, last = words[0] - 200, words[-1] - 200
        seconds = np.arange(3 * first, min(3 * last + 2, 3 * first + 32))
        np.testing.assert_array_equal(video[video_mask][:, 0], seconds)
        assert (video[~video_mask] == 0).all()
        lengths.add(len(words))
    assert min(lengths) == 12 and max(lengths) == 61  # 8 tokens need two captions, 61 cut eleven


def test_clips_of_a_record_do_not_depend_on_the_others() -> None:
    sampler = clips.OverlappedClips(BERT, clips_per_record=5)
    numbers = random(3, 5, sampler.draws)
    together = sampler(records(3, 12, 0), numbers)
    for i, count in enumerate((3, 12, 0)):
        alone = sampler(records(count, seconds=50 - i), numbers[i : i + 1])
        for name in together:
            np.testing.assert_array_equal(together[name][i], alone[name][0], err_msg=name)


def test_overlapped_clips_are_stretches_around_a_point_of_their_text() -> None:
    sampler = clips.OverlappedClips(BERT, clips_per_record=400, max_tokens=20)
    found = drawn(sampler, records(12, seconds=40))
    lengths, apart = set(), 0
    for video, video_mask, text, text_mask in zip(*found.values(), strict=True):
        seconds = video[video_mask][:, 0]
        np.testing.assert_array_equal(seconds, np.arange(seconds[0], seconds[0] + len(seconds)))
        words = text[text_mask][:-1]
        begin, end = 3 * (words[0] - 200), 3 * (words[-1] - 200) + 2
        assert seconds[0] <= end and begin <= seconds[-1] + 1
        apart += seconds[0] < begin or seconds[-1] >= end
        lengths.add(len(seconds))
    assert lengths == set(range(3, 33))
    assert apart > 200


def test_overlapped_clips_of_impossible_lengths() -> None:
    with pytest.raises(UserError, match="min_frames 3 and max_frames 64"):
        clips.OverlappedClips(BERT, clips_per_record=2, max_frames=64)


@pytest.mark.parametrize("sampler", [clips.CaptionWindows, clips.OverlappedClips])
def test_a_video_without_captions_gives_clips_without_text(sampler: Any) -> None:
    found = drawn(sampler(BERT, clips_per_record=2), records(0))
    assert found["video_mask"].any(axis=1).all()
    np.testing.assert_array_equal(found["text_mask"].sum(axis=1), [1, 1])


def test_a_clip_without_captions_is_the_videos_start() -> None:
    found = drawn(clips.CaptionWindows(BERT, clips_per_record=1), records(0, seconds=20))
    assert found["video"][0, :20, 0].tolist() == list(range(20))
    assert found["video_mask"][0].sum() == 20


def test_timed_texts_come_with_their_own_seconds() -> None:
    found = drawn(clips.TimedTexts(BERT, 50, field="captions"), records(4))
    assert {row[0] for row in found["text"]} == {200, 201, 202, 203}
    for video, mask, text, text_mask in zip(*found.values(), strict=True):
        start = 3 * (text[0] - 200)
        assert video[mask][:, 0].tolist() == [start, start + 1]
        assert text[text_mask].tolist() == [text[0]] * 6 + [102]


def test_descriptions_are_drawn_or_the_first() -> None:
    some = records(*[3] * 40)
    assert set(drawn(clips.Descriptions(BERT), some)["text"][:, 0]) == {200, 201, 202}
    assert set(drawn(clips.Descriptions(BERT, random=False), some)["text"][:, 0]) == {200}


def test_a_video_without_description_is_an_error_with_its_name() -> None:
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="<<data: video v1: field descriptions"
    ):
        drawn(clips.Descriptions(BERT), records(2, 0))


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("windows", {}, "config.sampler.name is 'windows', expected 'caption_windows' or"),
        ("descriptions", {"min_tokens": 3}, "config.sampler.min_tokens: descriptions takes random"),
    ],
)
def test_a_sampler_that_is_not_there(name: str, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        clips.create(name, BERT, **options)
