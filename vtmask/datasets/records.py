"""The fields of a record: one complete video, its features, captions and descriptions.

Every data set under `data/` builds its records from these fields and adds its own annotations, so
that one reader serves all.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from vtmask.errors import UserError
from vtmask.tokenizers import Tokenizer

BYTES = tfds.features.Encoding.BYTES


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


def moments() -> dict[str, Any]:
    """Texts with windows of the video: `windows` float32 [m, 2] and `num_windows` int32 [n].

    A window is a start and an end in seconds. All m windows are concatenated in order of the texts.
    """
    return texts() | {
        "windows": tfds.features.Tensor(shape=(None, 2), dtype=np.float32),
        "num_windows": integers(),
    }


def integers() -> tfds.features.Tensor:
    """int32 [n]."""
    return tfds.features.Tensor(shape=(None,), dtype=np.int32)


def features(feature_size: int, **annotations: Any) -> tfds.features.FeaturesDict:
    """Returns the fields of a record.

    - `video_id`: unique in the data set.
    - `video`: the file, relative to the data set's folder, or "".
    - `features`: float16 [rows, feature_size]; metadata.json has the seconds of each.
    - `captions`: the narration, `timed_texts` ordered by start.
    - `descriptions`: `texts` that describe the complete video, none or many.
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
    """Returns the fields of `texts` for these lines."""
    return {"text": list(lines)} | join_tokens(tokenizer.encode(lines))


def join_tokens(ids: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    """Returns `tokens` and `num_tokens` of texts, given the token ids of each."""
    return {
        "tokens": np.asarray([i for line in ids for i in line], np.int32),
        "num_tokens": np.asarray([len(line) for line in ids], np.int32),
    }


def encode_timed_texts(
    tokenizer: Tokenizer, timed: Sequence[tuple[float, float, str]]
) -> dict[str, Any]:
    """Returns the fields of `timed_texts` for (start, end, text) triples, by start, then by end.

    Triples of equal times stay in the given order.
    """
    timed = sorted(timed, key=lambda line: line[:2])
    return encode_texts(tokenizer, [text for _, _, text in timed]) | {
        "start": np.asarray([start for start, _, _ in timed], np.float32),
        "end": np.asarray([end for _, end, _ in timed], np.float32),
    }


def check(video_id: str, record: dict[str, Any]) -> None:
    """Raises a UserError that names video and field if no model should see the record."""
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
            f"{start[index]} s; fix or drop it"
        )
