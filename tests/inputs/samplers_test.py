"""Clips have the published distribution, and the content of their windows."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from vtmask.errors import UserError
from vtmask.evaluation import windows
from vtmask.inputs import cutting, examples, samplers
from vtmask.models import VLMConfig

BERT = VLMConfig(pad_id=0, cls_id=101, sep_id=102, mask_id=103, feature_size=4)
SMALL = VLMConfig(
    pad_id=0, cls_id=2, sep_id=3, feature_size=1, max_video_len=5, max_len=11, num_classes=4
)


def test_text_windows_have_the_published_distribution(golden_dir: Path) -> None:
    golden = json.loads((golden_dir / "clip_sampling.json").read_text())
    for name, published in golden["text_windows"].items():
        actual, draws = draw_windows(golden, name), golden["draws_per_case"]
        assert actual.keys() == published.keys(), name
        # Both sides are samples of `draws`, so each difference has twice the variance of one.
        statistic = sum(
            (actual[window] - share * draws) ** 2 / (2 * share * draws)
            for window, share in published.items()
        )
        assert statistic <= chi2.ppf(0.9999, max(len(published) - 1, 1)), name


def draw_windows(golden: dict[str, Any], name: str) -> Counter[str]:
    num_tokens = tf.constant([golden["captions"]["num_tokens"]])
    count, draws = num_tokens.shape[1], golden["draws_per_case"]
    where, length = (field.split("=")[1] for field in name.split(","))
    center = (
        tf.random.stateless_uniform([1, draws], [1, 2], 0, count, tf.int32)
        if where == "None"
        else tf.fill([1, draws], int(where))
    )
    side = random(1, draws, 1)[..., 0]
    length = tf.fill([1, draws], int(length))
    first, last = cutting.text_windows(num_tokens, tf.constant([count]), center, length, side)
    return Counter(f"{a}-{b}" for a, b in zip(first[0].numpy(), last[0].numpy(), strict=True))


def random(*shape: int) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, [3, 4], None, None, tf.int64)


def records(*num_captions: int, seconds: int = 50) -> dict[str, Any]:
    """Makes videos of `seconds`, `seconds` - 1, … A feature is its second. Caption i lasts from
    second 3 i to 3 i + 2, and its six tokens are 200 + i."""
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


def drawn(sampler: samplers.Sampler, record: dict[str, Any]) -> dict[str, np.ndarray]:
    """Draws the clips of all records and concatenates them."""
    shape = len(record["num_features"]), sampler.clips_per_record, sampler.draws
    actual = sampler(record, random(*shape))
    return {name: x.numpy().reshape(-1, *x.shape[2:]) for name, x in actual.items()}


def test_video_windows_have_the_published_distribution(golden_dir: Path) -> None:
    golden = json.loads((golden_dir / "clip_sampling.json").read_text())
    draws = golden["draws_per_case"]
    for name, published in golden["video_windows"].items():
        seconds, length, center = (int(field.split("=")[1]) for field in name.split(","))
        start, end = cutting.video_windows(
            tf.constant([[seconds]]),
            tf.fill([1, draws], center),
            tf.fill([1, draws], length),
            random(1, draws, 1)[..., 0],
        )
        actual = Counter(f"{a}-{b}" for a, b in zip(start[0].numpy(), end[0].numpy(), strict=True))
        assert actual.keys() == published.keys(), name
        statistic = sum(
            (actual[window] - share * draws) ** 2 / (2 * share * draws)
            for window, share in published.items()
        )
        assert statistic <= chi2.ppf(0.9999, max(len(published) - 1, 1)), name


def test_caption_windows_take_the_video_between_their_captions() -> None:
    actual = drawn(samplers.CaptionWindows(BERT, clips_per_record=200), records(12, 9))
    assert actual["video"].shape == (400, 32, 4) and actual["video"].dtype == np.float16
    lengths = set()
    for video, video_mask, text, text_mask in zip(*actual.values(), strict=True):
        words = text[text_mask][:-1]
        assert text[text_mask][-1] == 102 and (text[~text_mask] == 0).all()
        first, last = words[0] - 200, words[-1] - 200
        seconds = np.arange(3 * first, min(3 * last + 2, 3 * first + 32))
        np.testing.assert_array_equal(video[video_mask][:, 0], seconds)
        assert (video[~video_mask] == 0).all()
        lengths.add(len(words))
    assert min(lengths) == 12 and max(lengths) == 61  # 8 tokens need two captions, 61 cut eleven


def test_clips_of_a_record_do_not_depend_on_the_others() -> None:
    sampler = samplers.OverlappedClips(BERT, clips_per_record=5)
    numbers = random(3, 5, sampler.draws)
    together = sampler(records(3, 12, 0), numbers)
    for i, count in enumerate((3, 12, 0)):
        alone = sampler(records(count, seconds=50 - i), numbers[i : i + 1])
        for name in together:
            np.testing.assert_array_equal(together[name][i], alone[name][0], err_msg=name)


def test_overlapped_clips_are_stretches_around_a_point_of_their_text() -> None:
    sampler = samplers.OverlappedClips(BERT, clips_per_record=400, max_tokens=20)
    actual = drawn(sampler, records(12, seconds=40))
    lengths, apart = set(), 0
    for video, video_mask, text, text_mask in zip(*actual.values(), strict=True):
        seconds = video[video_mask][:, 0]
        np.testing.assert_array_equal(seconds, np.arange(seconds[0], seconds[0] + len(seconds)))
        words = text[text_mask][:-1]
        begin, end = 3 * (words[0] - 200), 3 * (words[-1] - 200) + 2
        assert seconds[0] <= end and begin <= seconds[-1] + 1
        apart += seconds[0] < begin or seconds[-1] >= end
        lengths.add(len(seconds))
    assert lengths == set(range(3, 33))
    assert apart > 200


def test_overlapped_clips_of_impossible_lengths_are_refused() -> None:
    with pytest.raises(UserError, match="min_frames 3 and max_frames 64"):
        samplers.OverlappedClips(BERT, clips_per_record=2, max_frames=64)


@pytest.mark.parametrize("sampler", [samplers.CaptionWindows, samplers.OverlappedClips])
def test_a_video_without_captions_gives_clips_without_text(sampler: Any) -> None:
    actual = drawn(sampler(BERT, clips_per_record=2), records(0))
    assert actual["video_mask"].any(axis=1).all()
    np.testing.assert_array_equal(actual["text_mask"].sum(axis=1), [1, 1])


def test_a_clip_without_captions_is_the_start_of_the_video() -> None:
    actual = drawn(samplers.CaptionWindows(BERT, clips_per_record=1), records(0, seconds=20))
    assert actual["video"][0, :20, 0].tolist() == list(range(20))
    assert actual["video_mask"][0].sum() == 20


def test_timed_texts_come_with_their_own_seconds() -> None:
    actual = drawn(samplers.TimedTexts(BERT, 50, field="captions"), records(4))
    assert {row[0] for row in actual["text"]} == {200, 201, 202, 203}
    for video, mask, text, text_mask in zip(*actual.values(), strict=True):
        start = 3 * (text[0] - 200)
        assert video[mask][:, 0].tolist() == [start, start + 1]
        assert text[text_mask].tolist() == [text[0]] * 6 + [102]


def test_descriptions_are_random_or_the_first() -> None:
    some = records(*[3] * 40)
    assert set(drawn(samplers.Descriptions(BERT), some)["text"][:, 0]) == {200, 201, 202}
    assert set(drawn(samplers.Descriptions(BERT, random=False), some)["text"][:, 0]) == {200}


def test_a_video_without_a_description_is_reported_by_its_name() -> None:
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="<<data: video v1: field descriptions"
    ):
        drawn(samplers.Descriptions(BERT), records(2, 0))


def padded(rows: Sequence[Sequence[Any]], dtype: Any) -> tf.Tensor:
    """Pads rows of different lengths with zeros to a matrix."""
    filled = np.zeros((len(rows), max(map(len, rows))), dtype)
    for row, values in zip(filled, rows, strict=True):
        row[: len(values)] = values
    return tf.constant(filled)


def videos(lengths: Sequence[int]) -> dict[str, Any]:
    """Makes videos with these numbers of features; feature i is the number i + 1."""
    rows = [[*range(1, length + 1)] for length in lengths]
    return {
        "video_id": tf.constant([f"v{i}" for i in range(len(lengths))]),
        "path": tf.constant(["data"] * len(lengths)),
        "num_features": tf.constant(lengths, tf.int32),
        "features": tf.pad(padded(rows, np.float16), [[0, 0], [0, 1]])[..., None],
    }


def labelled(classes: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Makes videos with these classes of features."""
    record = videos([len(row) for row in classes])
    labels = tf.pad(padded(classes, np.int32), [[0, 0], [0, 1]])
    return record | {"labels": {"count": record["num_features"], "class": labels}}


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=20), min_size=1, max_size=3),
    st.integers(1, 5),
)
@settings(max_examples=40)
@example([[1] * 5, [2] * 6, [3] * 10], 5)
def test_labelled_windows_have_the_classes_of_their_frames(
    classes: list[list[int]], stride: int
) -> None:
    sampler = samplers.LabelledWindows(SMALL, clips_per_record=3, stride=stride)
    numbers = random(len(classes), 3, 1)
    actual = {name: x.numpy() for name, x in sampler(labelled(classes), numbers).items()}
    assert actual.keys() == {"video", "video_mask", "labels"}
    assert actual["labels"].dtype == np.int32
    for record, row in enumerate(classes):
        starts = windows.starts(len(row), 5, stride).tolist()
        for clip, number in enumerate(numbers[record, :, 0].numpy().tolist()):
            start = starts[number % len(starts)]
            inside = range(start, min(start + 5, len(row)))
            beyond = [0] * (5 - len(inside))
            assert actual["video"][record, clip, :, 0].tolist() == [i + 1 for i in inside] + beyond
            assert actual["labels"][record, clip].tolist() == [row[i] for i in inside] + beyond
            assert actual["video_mask"][record, clip].sum() == len(inside)


def test_every_labelled_window_is_drawn() -> None:
    actual = drawn(samplers.LabelledWindows(SMALL, 200, stride=3), labelled([[1] * 12]))
    assert set(actual["video"][:, 0, 0]) == {1, 4, 7, 10}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"count": [2, 2]},
            "<<data: video v1: field labels must have one class per feature; build",
        ),
        (
            {"class": [[0, 3, 0, 0], [4, 0, 0, 0]]},
            r"<<data: video v1: field labels has a class that metadata.json does not name \(it na"
            r"mes 4\)>>",
        ),
    ],
)
def test_labels_that_do_not_fit_are_refused(change: dict[str, Any], problem: str) -> None:
    records = labelled([[0, 3], [1, 2, 3]])
    records["labels"] |= {name: tf.constant(value) for name, value in change.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=problem):
        drawn(samplers.LabelledWindows(SMALL, clips_per_record=1), records)


class Done(NamedTuple):
    """A step of a video, by its number from 1, and its time in features."""

    label: int
    start: float
    end: float


class Task(NamedTuple):
    """A video's number of features, the token ids of its task's steps, and when each is done."""

    length: int
    steps: list[list[int]]
    done: list[Done]


def tasks(videos_of: Sequence[Task]) -> dict[str, Any]:
    tokens = [[token for step in video.steps for token in step] for video in videos_of]
    done = {
        name: [[d[i] for d in v.done] for v in videos_of] for i, name in enumerate(Done._fields)
    }
    return videos([video.length for video in videos_of]) | {
        "step_texts": {
            "count": tf.constant([len(video.steps) for video in videos_of]),
            "num_tokens": padded([[*map(len, video.steps)] for video in videos_of], np.int32),
            "tokens": padded(tokens, np.int32),
        },
        "steps": {
            "count": tf.constant([len(video.done) for video in videos_of]),
            "label": padded(done["label"], np.int32),
            "start": padded(done["start"], np.float32),
            "end": padded(done["end"], np.float32),
        },
    }


@st.composite
def made_up_tasks(draw: st.DrawFn) -> Task:
    """Makes steps that repeat, overlap, take no time or continue after the video's end."""
    length = draw(st.integers(1, 20))
    steps = draw(st.lists(st.lists(st.integers(5, 9), max_size=6), min_size=1, max_size=4))
    time = st.integers(0, 88).map(lambda quarter: quarter / 4)
    pairs = st.tuples(st.integers(1, len(steps)), time, time)
    done = draw(st.lists(pairs.map(lambda d: Done(d[0], min(d[1:]), max(d[1:]))), max_size=4))
    return Task(length, steps, done)


@given(st.lists(made_up_tasks(), min_size=1, max_size=3), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=60)
def test_step_windows_show_steps_where_they_are_done(
    videos_of: list[Task], stride: int, count: int
) -> None:
    sampler = samplers.StepWindows(SMALL, windows=count, max_steps=4, stride=stride)
    numbers = random(len(videos_of), 1, 1)
    actual = {name: x.numpy()[:, 0] for name, x in sampler(tasks(videos_of), numbers).items()}
    for record, video in enumerate(videos_of):
        starts = windows.starts(video.length, 5, stride).tolist()
        first = int(numbers[record, 0, 0]) % len(starts)
        order = [*starts[first:], *starts[:first]][:count]
        expected = np.zeros((count, 5, 4), bool)
        frames = np.zeros((count, 5))
        for window, start in enumerate(order):
            for frame in range(start, min(start + 5, video.length)):
                frames[window, frame - start] = frame + 1
                for label, begin, end in video.done:
                    is_done = math.floor(begin) <= frame < math.ceil(end)
                    expected[window, frame - start, label - 1] |= is_done
        np.testing.assert_array_equal(actual["video"][record, ..., 0], frames)
        np.testing.assert_array_equal(actual["video_mask"][record], frames > 0)
        np.testing.assert_array_equal(actual["shown"][record], expected)
        for step, mask in enumerate(actual["steps_mask"][record]):
            if step >= len(video.steps):
                assert not mask.any()
                continue
            text = examples.text(SMALL, np.array(video.steps[step], np.int32))
            np.testing.assert_array_equal(actual["steps"][record, step], text["text"])
            np.testing.assert_array_equal(mask, text["text_mask"])


def test_step_windows_start_anywhere_and_wrap_around() -> None:
    sampler = samplers.StepWindows(SMALL, windows=3, max_steps=1, stride=5)
    starts = set()
    for number in range(4):
        actual = sampler(tasks([Task(20, [[5]], [])]), tf.constant([[[number]]], tf.int64))
        starts.add(tuple(actual["video"].numpy()[0, 0, :, 0, 0]))
    assert starts == {(1, 6, 11), (6, 11, 16), (11, 16, 1), (16, 1, 6)}


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([], "<<data: video v1: field step_texts is empty; expected a task's steps>>"),
        ([[5]] * 3, "<<data: video v1: task has more steps than config.sampler.max_steps, 2>>"),
    ],
)
def test_a_task_with_no_steps_or_too_many_is_refused(steps: list[list[int]], problem: str) -> None:
    sampler = samplers.StepWindows(SMALL, windows=2, max_steps=2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=problem):
        drawn(sampler, tasks([Task(3, [[5], [6]], []), Task(4, steps, [])]))


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("windows", {}, "config.sampler.name is 'windows', expected 'caption_windows' or"),
        ("descriptions", {"min_tokens": 3}, "config.sampler.min_tokens: descriptions takes random"),
        ("labelled_windows", {"windows": 3}, "config.sampler.windows: labelled_windows takes clip"),
        ("step_windows", {"windows": 3}, "config.sampler.max_steps is missing; step_windows"),
    ],
)
def test_unknown_samplers_and_settings_are_refused(
    name: str, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        samplers.create(name, BERT, **options)
