"""Cuts clips out of records, in TensorFlow ops; see `vtmask.inputs.samplers` for the shapes."""

from __future__ import annotations

from typing import Any

from vtmask.datasets.tensorflow import tf
from vtmask.models.vlm import VLMConfig

Records = dict[str, Any]
Clips = dict[str, Any]
MAX_STEPS = 62  # of a random walk: as many as a drawn int64 has bits to decide


def require(condition: tf.Tensor, records: Records, problem: str) -> None:
    """Stops the pipeline, naming the first record where the condition [R] does not hold."""
    first = tf.argmin(tf.cast(condition, tf.int8))
    message = tf.strings.join(
        ["<<", records["path"][first], ": video ", records["video_id"][first], ": ", problem, ">>"]
    )
    tf.debugging.Assert(tf.reduce_all(condition), [message])


def text_windows(
    num_tokens: tf.Tensor, count: tf.Tensor, center: tf.Tensor, target: tf.Tensor, side: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Grows text windows around captions: first and last caption, [R, K] each.

    Every step adds the next caption on the left or the right, on the other side where one end is
    reached, until there are `target` tokens or no captions left, or `MAX_STEPS` are added.

    Args:
      num_tokens: of each caption, [R, N], 0 beyond the last.
      count: captions of each record, [R].
      center: where each window starts, [R, K].
      target: number of tokens to reach, [R, K].
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
    enough = (tokens >= target[..., None]) | (step == most)
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
    taken = tf.gather(tokens, tf.where(inside, start[..., None] + offset, 0), batch_dims=1)
    return tf.where(inside, taken, tf.where(offset == length, sep_id, pad_id)), offset <= length


def make_clips(
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
    text, text_mask = make_texts(config, texts, first, end)
    return {"video": video, "video_mask": video_mask, "text": text, "text_mask": text_mask}


def make_texts(
    config: VLMConfig, texts: Records, first: tf.Tensor, end: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Texts [first, end), [R, K] each, joined, and their mask: [R, K, T]."""
    token_ends = tf.pad(tf.cumsum(texts["num_tokens"], axis=1), [[0, 0], [1, 1]])
    return cut_text(
        texts["tokens"],
        pick(token_ends, first),
        pick(token_ends, tf.minimum(end, texts["count"][:, None])),
        config.max_text_len,
        config.sep_id,
        config.pad_id,
    )


def num_windows(config: VLMConfig, num_features: tf.Tensor, stride: int) -> tf.Tensor:
    """How many windows of V frames, one every `stride`, cover videos of `num_features`: [R, 1]."""
    beyond_first = tf.maximum(num_features[:, None] - config.max_video_len, 0)
    return 1 + (beyond_first + stride - 1) // stride


def window_bounds(
    config: VLMConfig, num_features: tf.Tensor, stride: int, window: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Start and end of windows [R, K] of videos of `num_features` [R]."""
    start = window * stride
    return start, tf.minimum(start + config.max_video_len, num_features[:, None])


def below(random: tf.Tensor, limit: tf.Tensor | int) -> tf.Tensor:
    """Random int64 of all values to int32 in [0, limit); 0 where the limit is 0."""
    limit = tf.maximum(tf.cast(limit, tf.int64), 1)
    return tf.cast(tf.math.floormod(random, limit), tf.int32)


def pick(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Elements [R, K] of values [R, N] at [R, K]; 0 where a record has none at all."""
    return tf.gather(tf.pad(values, [[0, 0], [0, 1]]), index, batch_dims=1)
