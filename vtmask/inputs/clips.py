"""Records to clips: which seconds and which words of a video a model sees, in TensorFlow ops.

A sampler takes one record and a stateless seed and returns K clips at once, each a dict entry
[K, …] in the form `vtmask.models.vlm` describes. No Python runs for a clip.
"""

import dataclasses
from typing import Any, Protocol

import tensorflow as tf

from vtmask.models.vlm import VLMSizes

Record = dict[str, Any]
Clips = dict[str, tf.Tensor]


class Sampler(Protocol):
    """Draws `clips_per_record` clips of a record; the same clips for the same seed [2]."""

    @property
    def clips_per_record(self) -> int: ...

    def __call__(self, record: Record, seed: tf.Tensor) -> Clips: ...


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

    sizes: VLMSizes
    clips_per_record: int
    min_tokens: int = 8
    max_tokens: int = 64

    def __call__(self, record: Record, seed: tf.Tensor) -> Clips:
        seconds = tf.shape(record["features"])[0]
        captions = record["captions"]
        count = tf.maximum(tf.size(captions["num_tokens"]), 1)
        num_tokens = tf.concat([captions["num_tokens"], [0]], 0)[:count]
        starts = tf.concat([captions["start"], [0.0]], 0)[:count]
        ends = tf.concat([captions["end"], [tf.cast(seconds, tf.float32)]], 0)[:count]

        center_seed, length_seed, side_seed = tf.unstack(
            tf.random.experimental.stateless_split(seed, 3)
        )
        shape = [self.clips_per_record]
        center = tf.random.stateless_uniform(shape, center_seed, 0, count, tf.int32)
        wanted = tf.random.stateless_uniform(
            shape, length_seed, self.min_tokens, self.max_tokens + 1, tf.int32
        )
        left = tf.random.stateless_uniform(
            [self.clips_per_record, count], side_seed, 0, 2, tf.int32
        )
        wanted = tf.minimum(wanted, self.sizes.max_text_len - 1)
        first, last = text_windows(num_tokens, center, wanted, left)
        video_start, video_end = video_windows(
            tf.gather(starts, first), tf.gather(ends, last), seconds
        )
        return _clips(
            self.sizes, record["features"], video_start, video_end, captions, first, last + 1
        )


@dataclasses.dataclass(frozen=True)
class Descriptions:
    """One clip a record: the video from its start and one of its descriptions.

    Attributes:
      random: draw the description; otherwise take the first.
    """

    sizes: VLMSizes
    random: bool
    clips_per_record: int = dataclasses.field(default=1, init=False)

    def __call__(self, record: Record, seed: tf.Tensor) -> Clips:
        descriptions = record["descriptions"]
        count = tf.size(descriptions["num_tokens"])
        require(count > 0, record, "field descriptions is empty; retrieval needs one")
        limit = tf.maximum(count, 1) if self.random else 1
        chosen = tf.random.stateless_uniform([1], seed, 0, limit, tf.int32)
        seconds = tf.shape(record["features"])[:1]
        start = tf.zeros_like(seconds)
        return _clips(
            self.sizes, record["features"], start, seconds, descriptions, chosen, chosen + 1
        )


def require(condition: tf.Tensor, record: Record, problem: str) -> None:
    """Stops the pipeline with the record's video id and the problem, between << and >>."""
    tf.debugging.Assert(
        condition, [tf.strings.join(["<<video ", record["video_id"], ": ", problem, ">>"])]
    )


def text_windows(
    num_tokens: tf.Tensor, center: tf.Tensor, wanted: tf.Tensor, left: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Grows text windows around captions: first and last caption, [K] each.

    Every step adds the next caption on the left or the right, on the other side where one end is
    reached, until there are `wanted` tokens or no captions left.

    Args:
      num_tokens: of each caption, [n].
      center: where each window starts, [K].
      wanted: number of tokens to reach, [K].
      left: 1 where step j goes left, 0 where right, [K, n].
    """
    count = tf.size(num_tokens)
    ends = tf.cumsum(num_tokens)
    step = tf.range(count)[None, :]
    # Captions on the left after j steps: a side that is used up sends all further steps to the
    # other, so clipping the unbounded walk gives the bounded one.
    lefts = tf.cumsum(left, axis=1, exclusive=True)
    room_left, room_right = center[:, None], count - 1 - center[:, None]
    lefts = tf.clip_by_value(lefts, step - room_right, room_left)
    first, last = room_left - lefts, room_left + step - lefts
    tokens = tf.gather(ends, last) - tf.gather(ends, first) + tf.gather(num_tokens, first)
    enough = (tokens >= wanted[:, None]) | (step == count - 1)
    grown = tf.argmax(tf.cast(enough, tf.int8), axis=1, output_type=tf.int32)
    return tf.gather(first, grown, batch_dims=1), tf.gather(last, grown, batch_dims=1)


def video_windows(
    starts: tf.Tensor, ends: tf.Tensor, seconds: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Whole seconds that cover [start, end) times, inside the video: int32 [K] each."""
    last = tf.minimum(tf.cast(tf.math.ceil(ends), tf.int32), seconds)
    first = tf.minimum(tf.cast(tf.floor(starts), tf.int32), last)
    return tf.maximum(first, 0), tf.maximum(last, 0)


def cut_video(
    features: tf.Tensor, start: tf.Tensor, end: tf.Tensor, max_video_len: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Seconds [start, end) of a video, cut and padded: [K, V, size] and a mask [K, V].

    Args:
      features: [seconds, size].
      start, end: [K], inside the video.
      max_video_len: V.
    """
    index = start[:, None] + tf.range(max_video_len)[None, :]
    mask = index < end[:, None]
    padded = tf.pad(features, [[0, 1], [0, 0]])
    return tf.gather(padded, tf.where(mask, index, tf.shape(features)[0])), mask


def cut_text(
    tokens: tf.Tensor, start: tf.Tensor, end: tf.Tensor, max_text_len: int, sep_id: int, pad_id: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Tokens [start, end), cut to T - 1, closed by [SEP] and padded: [K, T] and a mask [K, T].

    Args:
      tokens: all token ids of the record, one text after the other.
      start, end: [K], into `tokens`.
      max_text_len: T.
    """
    length = tf.minimum(end - start, max_text_len - 1)[:, None]
    offset = tf.range(max_text_len)[None, :]
    padded = tf.pad(tokens, [[0, 1]], constant_values=pad_id)
    index = tf.where(offset < length, start[:, None] + offset, tf.size(tokens))
    return tf.where(offset == length, sep_id, tf.gather(padded, index)), offset <= length


def _clips(
    sizes: VLMSizes,
    features: tf.Tensor,
    video_start: tf.Tensor,
    video_end: tf.Tensor,
    texts: Record,
    first: tf.Tensor,
    end: tf.Tensor,
) -> Clips:
    """Clips of seconds [video_start, video_end) and texts [first, end), [K] each."""
    video, video_mask = cut_video(features, video_start, video_end, sizes.max_video_len)
    token_ends = tf.concat([[0], tf.cumsum(texts["num_tokens"]), [0]], 0)
    text, text_mask = cut_text(
        texts["tokens"],
        tf.gather(token_ends, first),
        tf.gather(token_ends, end),
        sizes.max_text_len,
        sizes.sep_id,
        sizes.pad_id,
    )
    return {"video": video, "video_mask": video_mask, "text": text, "text_mask": text_mask}
