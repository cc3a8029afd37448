"""What a record holds: one whole video, its features, captions and descriptions.

Every data set under `data/` builds its records from these fields and adds annotations of its own
beside them, so that one reader serves all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from vtmask.datasets import writing
from vtmask.errors import UserError
from vtmask.tokenizers import Tokenizer

BYTES = tfds.features.Encoding.BYTES
writing.write_alike()


def texts() -> dict[str, Any]:
    """A list of n texts: `text` [n], `tokens` int32 [sum of lengths], `num_tokens` int32 [n]."""
    return {
        "text": tfds.features.Sequence(tfds.features.Text()),
        "tokens": tfds.features.Tensor(shape=(None,), dtype=np.int32),
        "num_tokens": tfds.features.Tensor(shape=(None,), dtype=np.int32),
    }


def timed_texts() -> dict[str, Any]:
    """Texts with `start` and `end` float32 [n], in seconds from the video's first frame."""
    return texts() | {
        "start": tfds.features.Tensor(shape=(None,), dtype=np.float32),
        "end": tfds.features.Tensor(shape=(None,), dtype=np.float32),
    }


def integers() -> tfds.features.Tensor:
    """int32 [n]."""
    return tfds.features.Tensor(shape=(None,), dtype=np.int32)


def features(feature_size: int, **annotations: Any) -> tfds.features.FeaturesDict:
    """The record's fields.

    - `video_id`: unique in the data set.
    - `video`: the file, relative to the data set's folder, or "".
    - `features`: float16 [rows, feature_size], each of as many seconds as metadata.json says.
    - `captions`: the narration, `timed_texts` in order of their start.
    - `descriptions`: `texts` that describe the whole video, none or many.
    - `annotations`: what this data set adds.
    """
    return tfds.features.FeaturesDict(
        {
            "video_id": tfds.features.Text(),
            "video": tfds.features.Text(),
            "features": tfds.features.Tensor(
                shape=(None, feature_size), dtype=np.float16, encoding=BYTES
            ),
            "captions": timed_texts(),
            "descriptions": texts(),
            **annotations,
        }
    )


def encode_texts(tokenizer: Tokenizer, lines: Sequence[str]) -> dict[str, Any]:
    """The fields of `texts` for these lines."""
    return {"text": list(lines)} | join_tokens(tokenizer.encode(lines))


def join_tokens(ids: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    """`tokens` and `num_tokens` of texts whose ids are these."""
    return {
        "tokens": np.asarray([i for line in ids for i in line], np.int32),
        "num_tokens": np.asarray([len(line) for line in ids], np.int32),
    }


def encode_timed_texts(
    tokenizer: Tokenizer, timed: Sequence[tuple[float, float, str]]
) -> dict[str, Any]:
    """The fields of `timed_texts` for (start, end, text) triples, sorted by their start."""
    timed = sorted(timed)
    return encode_texts(tokenizer, [text for _, _, text in timed]) | {
        "start": np.asarray([start for start, _, _ in timed], np.float32),
        "end": np.asarray([end for _, end, _ in timed], np.float32),
    }


def parse(
    serialized: tf.Tensor,
    feature_size: int,
    seconds_per_feature: float,
    fields: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Reads serialised records [R] into dense tensors; `vtmask.inputs.samplers` says which.

    Only what a sampler needs is read: video id, features and some fields. Times of texts turn from
    seconds into features.

    Args:
      fields: by the name of each field of texts, its parts: "tokens", "num_tokens", "start", "end",
        "label"; none for the field "labels".
    """
    specs = {name: tf.io.FixedLenFeature([], tf.string, "") for name in ("video_id", "features")}
    for field, parts in fields.items():
        specs |= {f"{field}/{part}": tf.io.RaggedFeature(_kind(part)) for part in parts}
        if not parts:
            specs[field] = tf.io.RaggedFeature(tf.int64)
    found = tf.io.parse_example(serialized, specs)

    row = feature_size * tf.float16.size
    num_bytes = tf.strings.length(found["features"])
    # uint16, as TensorFlow pads no float16; one more row than the longest video has.
    features = tf.io.decode_raw(
        found["features"], tf.uint16, fixed_length=tf.reduce_max(num_bytes) + row
    )
    features = tf.reshape(tf.bitcast(features, tf.float16), [tf.size(num_bytes), -1, feature_size])
    return {
        "video_id": found["video_id"],
        "num_features": num_bytes // row,
        "features": features,
    } | {
        field: _texts(found, field, parts, seconds_per_feature)
        if parts
        else _labels(found[field], tf.shape(features)[1])
        for field, parts in fields.items()
    }


def _kind(part: str) -> tf.DType:
    return tf.float32 if part in ("start", "end") else tf.int64


def _texts(
    found: Mapping[str, Any], field: str, parts: Sequence[str], seconds_per_feature: float
) -> dict[str, tf.Tensor]:
    texts = {part: found[f"{field}/{part}"].to_tensor() for part in parts}
    for part, values in texts.items():
        if values.dtype == tf.int64:
            texts[part] = tf.cast(values, tf.int32)
        elif seconds_per_feature != 1:
            # Rounded, as float32 puts times at the edge of a feature on either side of it.
            texts[part] = tf.round(values / seconds_per_feature * 1024) / 1024
    texts["count"] = tf.cast(found[f"{field}/num_tokens"].row_lengths(), tf.int32)
    return texts


def _labels(classes: tf.RaggedTensor, rows: tf.Tensor) -> dict[str, tf.Tensor]:
    dense = tf.cast(classes.to_tensor(), tf.int32)
    missing = tf.maximum(rows - tf.shape(dense)[1], 0)
    return {
        "class": tf.pad(dense, [[0, 0], [0, missing]])[:, :rows],
        "count": tf.cast(classes.row_lengths(), tf.int32),
    }


def check(video_id: str, record: dict[str, Any]) -> None:
    """Raises a UserError, naming video and field, for a record no model should see."""
    values = record["features"]
    if values.ndim != 2 or not len(values):
        raise UserError(
            f"video {video_id}: features have shape {values.shape}, expected [rows, size]"
        )
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0, 0])
        raise UserError(
            f"video {video_id}: features of row {row} are not finite; extract them again"
        )
    start, end = record["captions"]["start"], record["captions"]["end"]
    if not (end >= start).all():
        index = int(np.argmin(end >= start))
        raise UserError(
            f"video {video_id}: caption {index} ends at {end[index]} s before it starts at "
            f"{start[index]} s; mend or drop it"
        )
