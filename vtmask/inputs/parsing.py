"""Serialised records to dense tensors, in TensorFlow ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vtmask.datasets.tensorflow import tf
from vtmask.inputs.times import in_features


def parse(
    serialized: tf.Tensor,
    feature_size: int,
    seconds_per_feature: float,
    fields: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Parses serialised records [R] into the dense tensors that `vtmask.inputs.samplers` describes.

    Only the parts that a sampler needs are read: video id, features and some fields. Times of texts
    are converted from seconds to features.

    Args:
      fields: field of texts → its parts, of "tokens", "num_tokens", "start", "end" and "label"; the
        field "labels" has none.
    """
    specs = {name: tf.io.FixedLenFeature([], tf.string, "") for name in ("video_id", "features")}
    for field, parts in fields.items():
        specs |= {f"{field}/{part}": tf.io.RaggedFeature(_kind(part)) for part in parts}
        if not parts:
            specs[field] = tf.io.RaggedFeature(tf.int64)
    parsed = tf.io.parse_example(serialized, specs)

    row = feature_size * tf.float16.size
    num_bytes = tf.strings.length(parsed["features"])
    # As uint16, because TensorFlow can't pad float16. One row more than the longest video has.
    features = tf.io.decode_raw(
        parsed["features"], tf.uint16, fixed_length=tf.reduce_max(num_bytes) + row
    )
    features = tf.reshape(tf.bitcast(features, tf.float16), [tf.size(num_bytes), -1, feature_size])
    return {
        "video_id": parsed["video_id"],
        "num_features": num_bytes // row,
        "features": features,
    } | {
        field: _texts(parsed, field, parts, seconds_per_feature)
        if parts
        else _labels(parsed[field], tf.shape(features)[1])
        for field, parts in fields.items()
    }


def _kind(part: str) -> tf.DType:
    return tf.float32 if part in ("start", "end") else tf.int64


def _texts(
    parsed: Mapping[str, Any], field: str, parts: Sequence[str], seconds_per_feature: float
) -> dict[str, tf.Tensor]:
    texts = {part: parsed[f"{field}/{part}"].to_tensor() for part in parts}
    for part, values in texts.items():
        if values.dtype == tf.int64:
            texts[part] = tf.cast(values, tf.int32)
        else:
            texts[part] = in_features(values, seconds_per_feature, tf.round)
    texts["count"] = tf.cast(parsed[f"{field}/num_tokens"].row_lengths(), tf.int32)
    return texts


def _labels(classes: tf.RaggedTensor, rows: tf.Tensor) -> dict[str, tf.Tensor]:
    dense = tf.cast(classes.to_tensor(), tf.int32)
    missing = tf.maximum(rows - tf.shape(dense)[1], 0)
    return {
        "class": tf.pad(dense, [[0, 0], [0, missing]])[:, :rows],
        "count": tf.cast(classes.row_lengths(), tf.int32),
    }
