"""Cuts clips out of records, in TensorFlow ops; see `vtmask.inputs.samplers` for the shapes."""

from __future__ import annotations

from typing import Any

from vtmask.datasets.tensorflow import tf
from vtmask.models.vlm import VLMConfig

Records = dict[str, Any]
Clips = dict[str, Any]
MAX_STEPS = 62  # of a random walk; each is decided by one bit of a drawn int64


def require(condition: tf.Tensor, records: Records, problem: str) -> None:
    """Stops the pipeline unless the condition [R] holds; names the first record that fails it."""
    first = tf.argmin(tf.cast(condition, tf.int8))
    message = tf.strings.join(
        ["<<", records["path"][first], ": video ", records["video_id"][first], ": ", problem, ">>"]
    )
    tf.debugging.Assert(tf.reduce_all(condition), [message])


def text_windows(
    num_tokens: tf.Tensor, count: tf.Tensor, center: tf.Tensor, target: tf.Tensor, side: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Grows text windows around captions.

    Each step adds the next caption on the left or the right, or on the other side if one end is
    reached. A window is complete when it has `target` tokens, when no captions are left, or after
    `MAX_STEPS` steps.

    Args:
      num_tokens: of each caption, [R, N], 0 beyond the last.
      count: number of captions of each record, [R].
      center: index of the caption that each window grows from, [R, K].
      target: number of tokens to reach, [R, K].
      side: random bits, int64 [R, K]: step j goes left if bit j is 1.

    Returns:
      the first and the last caption of each window, [R, K] each.
    """
    step = tf.range(MAX_STEPS + 1)
    bits = tf.bitwise.right_shift(side[..., None], tf.cast(step, tf.int64)) & 1
    # Captions on the left after j steps. Once a side is used up, all further steps go to the other
    # side, so clipping the unbounded walk gives the bounded one.
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
    """Grows video windows around features, one feature at a time, left or right at random.

    Args:
      num_features: of each video, int32 [R, 1].
      center: index of the feature that each window grows from, [R, K], below `num_features`.
      length: number of features to reach, at most `MAX_STEPS`, [R, K]. A shorter video is taken
        completely.
      side: random bits, int64 [R, K].

    Returns:
      the start and the end of each window, int32 [R, K] each.
    """
    length = tf.minimum(length, num_features)
    taken = tf.bitwise.left_shift(tf.ones_like(side), tf.cast(length, tf.int64)) - 1
    lefts = tf.cast(tf.raw_ops.PopulationCount(x=side & taken), tf.int32)
    start = tf.clip_by_value(center - lefts, 0, num_features - length)
    return start, start + length


def whole_features(
    starts: tf.Tensor, ends: tf.Tensor, num_features: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Widens [start, end) to the features it touches, in videos of `num_features` [R].

    Returns:
      the first feature and the end of the last, int32 [R, K] each.
    """
    last = tf.minimum(tf.cast(tf.math.ceil(ends), tf.int32), num_features[:, None])
    first = tf.minimum(tf.cast(tf.floor(starts), tf.int32), last)
    return tf.maximum(first, 0), tf.maximum(last, 0)


def cut_video(
    features: tf.Tensor, start: tf.Tensor, end: tf.Tensor, max_video_len: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts features [start, end) out of videos and pads them: [R, K, V, size] and mask [R, K, V].

    Args:
      features: [R, S, size]; row S - 1 is zero.
      start, end: [R, K], inside the video.
      max_video_len: V.
    """
    index = start[..., None] + tf.range(max_video_len)
    mask = index < end[..., None]
    records, rows = tf.unstack(tf.shape(features)[:2])
    # One flat gather takes half as long as one with batch_dims.
    index = tf.where(mask, index, rows - 1) + rows * tf.range(records)[:, None, None]
    return tf.gather(tf.reshape(features, [-1, features.shape[2]]), index), mask


def cut_text(
    tokens: tf.Tensor, start: tf.Tensor, end: tf.Tensor, max_text_len: int, sep_id: int, pad_id: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts tokens [start, end) to T - 1, adds [SEP] and pads: [R, K, T] each, with the mask.

    Args:
      tokens: all token ids of each record, one text after the other, [R, M].
      start, end: indices into `tokens`, [R, K].
      max_text_len: T.
    """
    length = tf.minimum(end - start, max_text_len - 1)[..., None]
    offset = tf.range(max_text_len)
    inside = offset < length
    tokens = tf.pad(tokens, [[0, 0], [0, 1]])  # so that index 0 exists
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
    """Makes clips from features [video_start, video_end) and texts [first, end), [R, K] each."""
    video, video_mask = cut_video(records["features"], video_start, video_end, config.max_video_len)
    text, text_mask = make_texts(config, texts, first, end)
    return {"video": video, "video_mask": video_mask, "text": text, "text_mask": text_mask}


def make_texts(
    config: VLMConfig, texts: Records, first: tf.Tensor, end: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Joins texts [first, end), [R, K] each; returns tokens and their mask, [R, K, T] each."""
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
    """Number of windows of V frames, one every `stride`, that cover each video: [R, 1]."""
    beyond_first = tf.maximum(num_features[:, None] - config.max_video_len, 0)
    return 1 + (beyond_first + stride - 1) // stride


def window_bounds(
    config: VLMConfig, num_features: tf.Tensor, stride: int, window: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the start and end of windows [R, K] in videos of `num_features` [R]."""
    start = window * stride
    return start, tf.minimum(start + config.max_video_len, num_features[:, None])


def below(random: tf.Tensor, limit: tf.Tensor | int) -> tf.Tensor:
    """Maps random int64, of any value, to int32 in [0, limit); to 0 if the limit is 0."""
    limit = tf.maximum(tf.cast(limit, tf.int64), 1)
    return tf.cast(tf.math.floormod(random, limit), tf.int32)


def pick(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Picks the elements of values [R, N] at [R, K]; 0 if a record has no values."""
    return tf.gather(tf.pad(values, [[0, 0], [0, 1]]), index, batch_dims=1)
