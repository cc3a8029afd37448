"""Records to clips: samplers choose the frames and words that a model sees, in TensorFlow ops.

A sampler takes R records at once and draws K clips from each, using the random numbers it is given.
No Python runs per record or per clip. Records are dense, as `vtmask.inputs.dataset.Dataset.parse`
makes them:

- `video_id`, and `path` of its data set: string [R];
- `features`: float16 [R, S, size], zero beyond each video's end; row S - 1 is always zero;
- `num_features`: of each video, int32 [R];
- for every field of texts a dict, all zero beyond a record's last text:
  - `count` int32 [R], `num_tokens` int32 [R, N] and `tokens` int32 [R, M], all texts of a record
    one after the other;
  - for timed texts, `start` and `end` float32 [R, N], counted in features: 3.5 is the middle of
    feature 3, however many seconds a feature has;
  - for labelled texts, `label` int32 [R, N];
- for the field `labels`, a dict of `count` int32 [R] and `class`, each feature's class, int32
  [R, S].

A frame of a clip is a feature of its video. Clips are [R, K, …] in the form that
`vtmask.models.vlm` describes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from vtmask import settings
from vtmask.datasets.tensorflow import tf
from vtmask.errors import UserError, check_choice
from vtmask.inputs.cutting import (
    MAX_STEPS,
    Clips,
    Records,
    below,
    cut_video,
    make_clips,
    make_texts,
    num_windows,
    pick,
    require,
    text_windows,
    video_windows,
    whole_features,
    window_bounds,
)
from vtmask.models.vlm import VLMConfig


class Sampler(Protocol):
    """Draws clips from records.

    Attributes:
      fields: fields of a record that it reads besides the features.
      clips_per_record: K.
      draws: number of random numbers per clip.
      epoch_field: field whose texts make an epoch; None if the videos do.
    """

    @property
    def fields(self) -> tuple[str, ...]: ...

    @property
    def clips_per_record(self) -> int: ...

    @property
    def draws(self) -> int: ...

    @property
    def epoch_field(self) -> str | None: ...

    def __call__(self, records: Records, random: tf.Tensor) -> Clips:
        """Draws clips [R, K, …]: a pure function of `records` and `random`.

        Args:
          random: int64 [R, K, draws], of any value.
        """


@dataclasses.dataclass(frozen=True)
class CaptionWindows:
    """Clips for pre-training: the text window drives the video (VLM, section 4.1).

    A window starts as one randomly drawn caption. It grows by complete captions, left or right at
    random, until it has the drawn number of tokens. The video spans the start of the first caption
    to the end of the last. A video without captions gives clips that begin at its start and have an
    empty text.

    Attributes:
      min_tokens, max_tokens: inclusive range of the drawn number of tokens.
    """

    config: VLMConfig
    clips_per_record: int
    min_tokens: int = 8
    max_tokens: int = 64
    fields: tuple[str, ...] = dataclasses.field(default=("captions",), init=False)
    draws: int = dataclasses.field(default=3, init=False)
    epoch_field: str | None = dataclasses.field(default=None, init=False)

    def __call__(self, records: Records, random: tf.Tensor) -> Clips:
        first, last, begin, end = self.text_windows(records, random)
        start, stop = whole_features(begin, end, records["num_features"])
        return make_clips(self.config, records, start, stop, records["captions"], first, last + 1)

    def text_windows(
        self, records: Records, random: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns each clip's first and last caption, its begin and its end: [R, K] each."""
        captions = records["captions"]
        center, target, side = tf.unstack(random, axis=-1)
        center = below(center, captions["count"][:, None])
        target = self.min_tokens + below(target, self.max_tokens - self.min_tokens + 1)
        target = tf.minimum(target, self.config.max_text_len - 1)
        first, last = text_windows(captions["num_tokens"], captions["count"], center, target, side)
        silent = captions["count"][:, None] == 0
        whole = tf.cast(records["num_features"][:, None], tf.float32)
        begin = pick(captions["start"], first)
        end = tf.where(silent, whole, pick(captions["end"], last))
        return first, last, begin, end


@dataclasses.dataclass(frozen=True)
class OverlappedClips(CaptionWindows):
    """Clips for VideoCLIP (Xu et al., EMNLP 2021, section 3.3): video and text merely overlap.

    The text is drawn as in `CaptionWindows`. The video is a window of random length around a random
    point in the text's time.

    Attributes:
      min_frames, max_frames: inclusive range of the video's length. A published frame is one
        second.
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
        center = tf.minimum(start + below(point, stop - start), num_features[:, None] - 1)
        length = self.min_frames + below(length, self.max_frames - self.min_frames + 1)
        length = tf.minimum(length, self.config.max_video_len)
        start, stop = video_windows(num_features[:, None], center, length, side)
        return make_clips(self.config, records, start, stop, records["captions"], first, last + 1)


@dataclasses.dataclass(frozen=True)
class Descriptions:
    """One clip per record: the video from its start, and one of its descriptions.

    Attributes:
      random: True draws the description, False takes the first.
    """

    config: VLMConfig
    random: bool = True
    clips_per_record: int = dataclasses.field(default=1, init=False)
    fields: tuple[str, ...] = dataclasses.field(default=("descriptions",), init=False)
    draws: int = dataclasses.field(default=1, init=False)
    epoch_field: str | None = dataclasses.field(default="descriptions", init=False)

    def __call__(self, records: Records, random: tf.Tensor) -> Clips:
        texts = records["descriptions"]
        require(texts["count"] > 0, records, "field descriptions is empty; retrieval needs one")
        chosen = below(random[..., 0], texts["count"][:, None] if self.random else 1)
        stop = records["num_features"][:, None]
        return make_clips(
            self.config, records, tf.zeros_like(stop), stop, texts, chosen, chosen + 1
        )


@dataclasses.dataclass(frozen=True)
class TimedTexts:
    """Clips for fine-tuning on annotated parts of videos: one timed text and its own frames.

    Attributes:
      field: a field of timed texts: "clips" (YouCook2's sentences), "steps", …
    """

    config: VLMConfig
    clips_per_record: int
    field: str = "clips"
    draws: int = dataclasses.field(default=1, init=False)

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.field,)

    @property
    def epoch_field(self) -> str:
        return self.field

    def __call__(self, records: Records, random: tf.Tensor) -> Clips:
        texts = records[self.field]
        require(texts["count"] > 0, records, f"field {self.field} is empty; expected timed texts")
        chosen = below(random[..., 0], texts["count"][:, None])
        start, stop = whole_features(
            pick(texts["start"], chosen), pick(texts["end"], chosen), records["num_features"]
        )
        return make_clips(self.config, records, start, stop, texts, chosen, chosen + 1)


@dataclasses.dataclass(frozen=True)
class LabelledWindows:
    """Clips for action segmentation: sliding windows of V frames with the class of each frame.

    Each clip is a randomly drawn window. Instead of a text, clips have `labels` int32 [R, K, V], 0
    beyond the video's end.

    Attributes:
      stride: frames from one window to the next.
    """

    config: VLMConfig
    clips_per_record: int
    stride: int = 16
    fields: tuple[str, ...] = dataclasses.field(default=("labels",), init=False)
    draws: int = dataclasses.field(default=1, init=False)
    epoch_field: str | None = dataclasses.field(default=None, init=False)

    def __call__(self, records: Records, random: tf.Tensor) -> Clips:
        num_features, labels = records["num_features"], records["labels"]
        problem = "field labels must have one class per feature; build the data set again"
        require(labels["count"] == num_features, records, problem)
        known = self.config.num_classes
        problem = f"field labels has a class that metadata.json does not name (it names {known})"
        named = (labels["class"] >= 0) & (labels["class"] < known)
        require(tf.reduce_all(named, axis=1), records, problem)
        window = below(random[..., 0], num_windows(self.config, num_features, self.stride))
        start, stop = window_bounds(self.config, num_features, self.stride, window)
        video, mask = cut_video(records["features"], start, stop, self.config.max_video_len)
        index = start[..., None] + tf.range(self.config.max_video_len)
        classes = tf.gather(labels["class"], tf.where(mask, index, 0), batch_dims=1)
        return {"video": video, "video_mask": mask, "labels": tf.where(mask, classes, 0)}


@dataclasses.dataclass(frozen=True)
class StepWindows:
    """Clips for step localisation: windows of a video, and the steps of its task.

    Each record gives one clip, in the form that `vtmask.tasks.localization` describes. Its windows
    are consecutive: they begin with a randomly drawn one and wrap around after the last. If the
    video has fewer than W windows, the others are empty.

    Attributes:
      windows: W, windows per clip.
      max_steps: S, the most steps that a task may have.
      stride: frames from one window to the next.
    """

    config: VLMConfig
    windows: int
    max_steps: int
    stride: int = 16
    clips_per_record: int = dataclasses.field(default=1, init=False)
    fields: tuple[str, ...] = dataclasses.field(default=("steps", "step_texts"), init=False)
    draws: int = dataclasses.field(default=1, init=False)
    epoch_field: str | None = dataclasses.field(default=None, init=False)

    def __call__(self, records: Records, random: tf.Tensor) -> Clips:
        texts, num_features = records["step_texts"], records["num_features"]
        require(texts["count"] > 0, records, "field step_texts is empty; expected a task's steps")
        problem = f"task has more steps than config.sampler.max_steps, {self.max_steps}"
        require(texts["count"] <= self.max_steps, records, problem)
        video, video_mask, start = self._video(records, random[..., 0])

        index = tf.range(self.max_steps)[None]
        exists = index < texts["count"][:, None]
        step = tf.where(exists, index, 0)
        steps, steps_mask = make_texts(self.config, texts, step, step + 1)
        steps_mask &= exists[..., None]

        annotated = records["steps"]
        begin, end = whole_features(annotated["start"], annotated["end"], num_features)
        frame = (start[..., None] + tf.range(self.config.max_video_len))[..., None]
        during = (begin[:, None, None] <= frame) & (frame < end[:, None, None])
        which = annotated["label"][..., None] == index[..., None, :] + 1
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
        """Draws windows [R, W, V, size], their mask and starts [R, W], from random [R, 1]."""
        num_features = records["num_features"]
        count = num_windows(self.config, num_features, self.stride)
        order = tf.range(self.windows)[None]
        window = (below(random, count) + order) % count
        start, stop = window_bounds(self.config, num_features, self.stride, window)
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
    """Creates the sampler of this name with the options of a recipe's `config.sampler`.

    Raises:
      UserError: there is no such sampler, or an option is unknown or missing.
    """
    check_choice("config.sampler.name", name, SAMPLERS)
    return settings.create(SAMPLERS[name], options, "config.sampler", name, config=config)
