"""Records to clips: which frames and which words of a video a model sees, in TensorFlow ops.

A sampler takes R records at once and draws K clips of each, with random numbers it is given: no
Python runs for a record or a clip. Records are dense, as `vtmask.inputs.dataset.Dataset.parse`
makes them:

- `video_id`, and `path` of its data set: string [R];
- `features`: float16 [R, S, size], zero beyond each video's end and in the last row of all;
- `num_features`: how many each video has, int32 [R];
- for every field of texts a dict of `count` int32 [R], `num_tokens` int32 [R, N], `tokens` int32
  [R, M] (all texts of a record, one after the other) and, for timed texts, `start` and `end`
  float32 [R, N], counted in features: 3.5 is the middle of feature 3, whatever its seconds, and,
  for labelled texts, `label` int32 [R, N]; all zero beyond a record's last text;
- for the field `labels` a dict of `count` int32 [R] and `class`, a feature's class, int32 [R, S].

A frame of a clip is a feature of its video. Clips are [R, K, …] in the form `vtmask.models.vlm`
describes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from vtmask.datasets.tensorflow import tf
from vtmask.errors import UserError, check_choice
from vtmask.models.vlm import VLMConfig

Records = dict[str, Any]
Clips = dict[str, Any]
MAX_STEPS = 62  # of a random walk: as many as a drawn int64 has bits to decide


class Sampler(Protocol):
    """Draws clips of records.

    Attributes:
      fields: what it reads of a record beside its features.
      clips_per_record: K.
      draws: random numbers a clip takes.
    """

    @property
    def fields(self) -> tuple[str, ...]: ...

    @property
    def clips_per_record(self) -> int: ...

    @property
    def draws(self) -> int: ...

    def __call__(self, records: Records, random: tf.Tensor) -> Clips:
        """Clips [R, K, …]; the same for the same `random`, int64 [R, K, draws] of all values."""


@dataclasses.dataclass(frozen=True)
class CaptionWindows:
    """Clips for pre-training: the text window drives the video (VLM, section 4.1).

    A window starts as one caption drawn at random and grows by whole captions, left or right at
    random, until it has the drawn number of tokens; the video is that between the start of the
    first and the end of the last caption. A video without captions gives clips from its start with
    an empty text.

    Attributes:
      min_tokens, max_tokens: range, both ends included, of the drawn number of tokens.
    """

    config: VLMConfig
    clips_per_record: int
    min_tokens: int = 8
    max_tokens: int = 64
    fields: tuple[str, ...] = dataclasses.field(default=("captions",), init=False)
    draws: int = dataclasses.field(default=3, init=False)

    def __call__(self, records: Records, random: tf.Tensor) -> Clips:
        first, last, begin, end = self.text_windows(records, random)
        start, stop = whole_features(begin, end, records["num_features"])
        return _clips(self.config, records, start, stop, records["captions"], first, last + 1)

    def text_windows(
        self, records: Records, random: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """First and last caption of each clip, and when they begin and end: [R, K] each."""
        captions = records["captions"]
        center, wanted, side = tf.unstack(random, axis=-1)
        center = _below(center, captions["count"][:, None])
        wanted = self.min_tokens + _below(wanted, self.max_tokens - self.min_tokens + 1)
        wanted = tf.minimum(wanted, self.config.max_text_len - 1)
        first, last = text_windows(captions["num_tokens"], captions["count"], center, wanted, side)
        silent = captions["count"][:, None] == 0
        whole = tf.cast(records["num_features"][:, None], tf.float32)
        begin = _pick(captions["start"], first)
        end = tf.where(silent, whole, _pick(captions["end"], last))
        return first, last, begin, end


@dataclasses.dataclass(frozen=True)
class OverlappedClips(CaptionWindows):
    """Clips for VideoCLIP (Xu et al., EMNLP 2021, section 3.3): video and text merely overlap.

    The text is drawn as in `CaptionWindows`; the video is a stretch of random length around a point
    drawn inside the text's time.

    Attributes:
      min_frames, max_frames: range, both ends included, of the video's length. The published ones
        are of a second each.
    """

    min_frames: int = 3
    max_frames: int = 32
    draws: int = dataclasses.field(default=6, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.min_frames <= self.max_frames <= MAX_STEPS:
            raise UserError(
                f"config.sampler: min_frames {self.min_frames} and max_frames "
                f"{self.max_frames}, expected 0 < min_frames <= max_frames <= {MAX_STEPS}"
            )

    def __call__(self, records: Records, random: tf.Tensor) -> Clips:
        first, last, begin, end = self.text_windows(records, random[..., :3])
        point, length, side = tf.unstack(random[..., 3:], axis=-1)
        num_features = records["num_features"]
        start, stop = whole_features(begin, end, num_features)
        center = tf.minimum(start + _below(point, stop - start), num_features[:, None] - 1)
        length = self.min_frames + _below(length, self.max_frames - self.min_frames + 1)
        length = tf.minimum(length, self.config.max_video_len)
        start, stop = video_windows(num_features[:, None], center, length, side)
        return _clips(self.config, records, start, stop, records["captions"], first, last + 1)


@dataclasses.dataclass(frozen=True)
class Descriptions:
    """One clip a record: the video from its start and one of its descriptions.

    Attributes:
      random: draw the description; otherwise take the first.
    """

    config: VLMConfig
    random: bool = True
    clips_per_record: int = dataclasses.field(default=1, init=False)
    fields: tuple[str, ...] = dataclasses.field(default=("descriptions",), init=False)
    draws: int = dataclasses.field(default=1, init=False)

    def __call__(self, records: Records, random: tf.Tensor) -> Clips:
        texts = records["descriptions"]
        require(texts["count"] > 0, records, "field descriptions is empty; retrieval needs one")
        chosen = _below(random[..., 0], texts["count"][:, None] if self.random else 1)
        stop = records["num_features"][:, None]
        return _clips(self.config, records, tf.zeros_like(stop), stop, texts, chosen, chosen + 1)


@dataclasses.dataclass(frozen=True)
class TimedTexts:
    """Clips for fine-tuning on annotated parts of videos: one timed text and its own frames.

    Attributes:
      field: of timed texts: "clips" (YouCook2's sentences), "steps", …
    """

    config: VLMConfig
    clips_per_record: int
    field: str = "clips"
    draws: int = dataclasses.field(default=1, init=False)

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.field,)

    def __call__(self, records: Records, random: tf.Tensor) -> Clips:
        texts = records[self.field]
        require(texts["count"] > 0, records, f"field {self.field} is empty; expected timed texts")
        chosen = _below(random[..., 0], texts["count"][:, None])
        start, stop = whole_features(
            _pick(texts["start"], chosen), _pick(texts["end"], chosen), records["num_features"]
        )
        return _clips(self.config, records, start, stop, texts, chosen, chosen + 1)


@dataclasses.dataclass(frozen=True)
class LabelledWindows:
    """Clips for action segmentation: sliding windows of V frames with the class of each frame.

    Clips have `labels` int32 [R, K, V], 0 beyond the video's end, instead of a text.

    Attributes:
      stride: frames from a window to the next; which of them is drawn.
    """

    config: VLMConfig
    clips_per_record: int
    stride: int = 16
    fields: tuple[str, ...] = dataclasses.field(default=("labels",), init=False)
    draws: int = dataclasses.field(default=1, init=False)

    def __call__(self, records: Records, random: tf.Tensor) -> Clips:
        num_features, labels = records["num_features"], records["labels"]
        problem = "field labels must have one class a feature; build the data set again"
        require(labels["count"] == num_features, records, problem)
        known = self.config.num_classes
        problem = f"field labels has a class that metadata.json does not name (it names {known})"
        named = (labels["class"] >= 0) & (labels["class"] < known)
        require(tf.reduce_all(named, axis=1), records, problem)
        window = _below(random[..., 0], _num_windows(self.config, num_features, self.stride))
        start, stop = _window(self.config, num_features, self.stride, window)
        video, mask = cut_video(records["features"], start, stop, self.config.max_video_len)
        index = start[..., None] + tf.range(self.config.max_video_len)
        classes = tf.gather(labels["class"], tf.where(mask, index, 0), batch_dims=1)
        return {"video": video, "video_mask": mask, "labels": tf.where(mask, classes, 0)}


@dataclasses.dataclass(frozen=True)
class StepWindows:
    """Clips for step localisation: windows of a video, and the steps of its task.

    One clip a record, as `vtmask.tasks.localization` describes a batch. Windows follow each other
    from a drawn one on, and from the first again after the last; one is empty where the video has
    no more.

    Attributes:
      windows: W, windows a clip.
      max_steps: S, the most steps that a task may have.
      stride: frames from a window to the next.
    """

    config: VLMConfig
    windows: int
    max_steps: int
    stride: int = 16
    clips_per_record: int = dataclasses.field(default=1, init=False)
    fields: tuple[str, ...] = dataclasses.field(default=("steps", "step_texts"), init=False)
    draws: int = dataclasses.field(default=1, init=False)

    def __call__(self, records: Records, random: tf.Tensor) -> Clips:
        texts, num_features = records["step_texts"], records["num_features"]
        require(texts["count"] > 0, records, "field step_texts is empty; expected a task's steps")
        problem = f"task has more steps than config.sampler.max_steps, {self.max_steps}"
        require(texts["count"] <= self.max_steps, records, problem)
        video, video_mask, start = self._video(records, random[..., 0])

        index = tf.range(self.max_steps)[None]
        there = index < texts["count"][:, None]
        index_there = tf.where(there, index, 0)
        steps, steps_mask = _texts(self.config, texts, index_there, index_there + 1)
        steps_mask &= there[..., None]

        done = records["steps"]
        begin, end = whole_features(done["start"], done["end"], num_features)
        frame = (start[..., None] + tf.range(self.config.max_video_len))[..., None]
        during = (begin[:, None, None] <= frame) & (frame < end[:, None, None])
        which = done["label"][..., None] == index[..., None, :] + 1
        shown = tf.einsum("rwvn,rns->rwvs", tf.cast(during, tf.int32), tf.cast(which, tf.int32)) > 0
        clip = {
            "video": video,
            "video_mask": video_mask,
            "steps": steps,
            "steps_mask": steps_mask,
            "shown": shown & video_mask[..., None],
        }
        return {name: value[:, None] for name, value in clip.items()}

    def _video(self, records: Records, random: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Windows [R, W, V, size], their mask and their starts [R, W], from random [R, 1]."""
        num_features = records["num_features"]
        count = _num_windows(self.config, num_features, self.stride)
        order = tf.range(self.windows)[None]
        window = (_below(random, count) + order) % count
        start, stop = _window(self.config, num_features, self.stride, window)
        stop = tf.where(order < count, stop, start)
        video, mask = cut_video(records["features"], start, stop, self.config.max_video_len)
        return video, mask, start


SAMPLERS: dict[str, Any] = {
    "caption_windows": CaptionWindows,
    "overlapped_clips": OverlappedClips,
    "descriptions": Descriptions,
    "timed_texts": TimedTexts,
    "labelled_windows": LabelledWindows,
    "step_windows": StepWindows,
}


def create(name: str, config: VLMConfig, **options: Any) -> Sampler:
    """The sampler of this name; UserError where there is none, or it lacks an option."""
    check_choice("config.sampler.name", name, SAMPLERS)
    fields = dataclasses.fields(SAMPLERS[name])
    known = {field.name: field for field in fields if field.init and field.name != "config"}
    for option in options.keys() - known.keys():
        raise UserError(f"config.sampler.{option}: {name} takes {', '.join(sorted(known))}")
    for option, field in known.items():
        if field.default is dataclasses.MISSING and option not in options:
            raise UserError(f"config.sampler.{option} is missing; {name} needs it")
    return SAMPLERS[name](config, **options)


def require(condition: tf.Tensor, records: Records, problem: str) -> None:
    """Stops the pipeline, naming the first record where the condition [R] does not hold."""
    first = tf.argmin(tf.cast(condition, tf.int8))
    message = tf.strings.join(
        ["<<", records["path"][first], ": video ", records["video_id"][first], ": ", problem, ">>"]
    )
    tf.debugging.Assert(tf.reduce_all(condition), [message])


def text_windows(
    num_tokens: tf.Tensor, count: tf.Tensor, center: tf.Tensor, wanted: tf.Tensor, side: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Grows text windows around captions: first and last caption, [R, K] each.

    Every step adds the next caption on the left or the right, on the other side where one end is
    reached, until there are `wanted` tokens or no captions left, or `MAX_STEPS` are added.

    Args:
      num_tokens: of each caption, [R, N], 0 beyond the last.
      count: captions of each record, [R].
      center: where each window starts, [R, K].
      wanted: number of tokens to reach, [R, K].
      side: random bits, int64 [R, K]: step j goes left where bit j is 1.
    """
    step = tf.range(MAX_STEPS + 1)
    bits = tf.bitwise.right_shift(side[..., None], tf.cast(step, tf.int64)) & 1
    # Captions on the left after j steps: a side that is used up sends all further steps to the
    # other, so clipping the unbounded walk gives the bounded one.
    lefts = tf.cumsum(tf.cast(bits, tf.int32), axis=-1, exclusive=True)
    most = tf.maximum(count[:, None, None] - 1, 0)
    room_left, room_right = center[..., None], most - center[..., None]
    step = tf.minimum(step, most)
    lefts = tf.clip_by_value(lefts, step - room_right, tf.minimum(room_left, step))
    first, last = room_left - lefts, room_left + step - lefts
    ends = tf.pad(tf.cumsum(num_tokens, axis=1), [[0, 0], [1, 1]])
    tokens = tf.gather(ends, last + 1, batch_dims=1) - tf.gather(ends, first, batch_dims=1)
    enough = (tokens >= wanted[..., None]) | (step == most)
    grown = tf.argmax(tf.cast(enough, tf.int8), axis=-1, output_type=tf.int32)
    return tf.gather(first, grown, batch_dims=2), tf.gather(last, grown, batch_dims=2)


def video_windows(
    num_features: tf.Tensor, center: tf.Tensor, length: tf.Tensor, side: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Grows stretches of video around points, a feature at a time, left or right at random.

    Args:
      num_features: of each video, int32 [R, 1].
      center: where each starts, [R, K], below `num_features`.
      length: features to reach, at most `MAX_STEPS`, [R, K]; the whole video where it has fewer.
      side: random bits, int64 [R, K].

    Returns:
      start and end of each, int32 [R, K].
    """
    length = tf.minimum(length, num_features)
    taken = tf.bitwise.left_shift(tf.ones_like(side), tf.cast(length, tf.int64)) - 1
    lefts = tf.cast(tf.raw_ops.PopulationCount(x=side & taken), tf.int32)
    start = tf.clip_by_value(center - lefts, 0, num_features - length)
    return start, start + length


def whole_features(
    starts: tf.Tensor, ends: tf.Tensor, num_features: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Features that [start, end) touches, in videos of `num_features` [R]: int32 [R, K]."""
    last = tf.minimum(tf.cast(tf.math.ceil(ends), tf.int32), num_features[:, None])
    first = tf.minimum(tf.cast(tf.floor(starts), tf.int32), last)
    return tf.maximum(first, 0), tf.maximum(last, 0)


def cut_video(
    features: tf.Tensor, start: tf.Tensor, end: tf.Tensor, max_video_len: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Features [start, end) of videos, cut and padded: [R, K, V, size] and a mask [R, K, V].

    Args:
      features: [R, S, size], the last row of all zero.
      start, end: [R, K], inside the video.
      max_video_len: V.
    """
    index = start[..., None] + tf.range(max_video_len)
    mask = index < end[..., None]
    records, rows = tf.unstack(tf.shape(features)[:2])
    # One flat gather: with batch_dims it takes twice the time.
    index = tf.where(mask, index, rows - 1) + rows * tf.range(records)[:, None, None]
    return tf.gather(tf.reshape(features, [-1, features.shape[2]]), index), mask


def cut_text(
    tokens: tf.Tensor, start: tf.Tensor, end: tf.Tensor, max_text_len: int, sep_id: int, pad_id: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Tokens [start, end), cut to T - 1, closed by [SEP] and padded: [R, K, T] and a mask.

    Args:
      tokens: all token ids of each record, one text after the other, [R, M].
      start, end: [R, K], into `tokens`.
      max_text_len: T.
    """
    length = tf.minimum(end - start, max_text_len - 1)[..., None]
    offset = tf.range(max_text_len)
    inside = offset < length
    tokens = tf.pad(tokens, [[0, 0], [0, 1]])  # so that there is something to point at
    found = tf.gather(tokens, tf.where(inside, start[..., None] + offset, 0), batch_dims=1)
    return tf.where(inside, found, tf.where(offset == length, sep_id, pad_id)), offset <= length


def _clips(
    config: VLMConfig,
    records: Records,
    video_start: tf.Tensor,
    video_end: tf.Tensor,
    texts: Records,
    first: tf.Tensor,
    end: tf.Tensor,
) -> Clips:
    """Clips of features [video_start, video_end) and texts [first, end), [R, K] each."""
    video, video_mask = cut_video(records["features"], video_start, video_end, config.max_video_len)
    text, text_mask = _texts(config, texts, first, end)
    return {"video": video, "video_mask": video_mask, "text": text, "text_mask": text_mask}


def _texts(
    config: VLMConfig, texts: Records, first: tf.Tensor, end: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Texts [first, end), [R, K] each, joined, and their mask: [R, K, T]."""
    token_ends = tf.pad(tf.cumsum(texts["num_tokens"], axis=1), [[0, 0], [1, 1]])
    return cut_text(
        texts["tokens"],
        _pick(token_ends, first),
        _pick(token_ends, tf.minimum(end, texts["count"][:, None])),
        config.max_text_len,
        config.sep_id,
        config.pad_id,
    )


def _num_windows(config: VLMConfig, num_features: tf.Tensor, stride: int) -> tf.Tensor:
    """How many windows of V frames, one every `stride`, cover videos of `num_features`: [R, 1]."""
    beyond_first = tf.maximum(num_features[:, None] - config.max_video_len, 0)
    return 1 + (beyond_first + stride - 1) // stride


def _window(
    config: VLMConfig, num_features: tf.Tensor, stride: int, window: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Start and end of windows [R, K] of videos of `num_features` [R]."""
    start = window * stride
    return start, tf.minimum(start + config.max_video_len, num_features[:, None])


def _below(random: tf.Tensor, limit: tf.Tensor | int) -> tf.Tensor:
    """Random int64 of all values to int32 in [0, limit); 0 where the limit is 0."""
    limit = tf.maximum(tf.cast(limit, tf.int64), 1)
    return tf.cast(tf.math.floormod(random, limit), tf.int32)


def _pick(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Elements [R, K] of values [R, N] at [R, K]; 0 where a record has none at all."""
    return tf.gather(tf.pad(values, [[0, 0], [0, 1]]), index, batch_dims=1)
