"""Records to examples for evaluation: every clip, window and text of a video, in NumPy.

Cuts and pads as `vtmask.inputs.samplers` does for training, but one example at a time. A record is
one that `vtmask.inputs.dataset.Dataset[i]` returns.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from vtmask.inputs.times import in_features
from vtmask.models.vlm import VLMConfig

Example = dict[str, np.ndarray]


class Clip(NamedTuple):
    """Features [start, stop) of a video."""

    start: int
    stop: int


def video(config: VLMConfig, features: np.ndarray, clip: Clip) -> Example:
    """Returns the clip's `video` [V, size] and `video_mask` [V], cut to V frames and padded."""
    frames = features[clip.start : clip.stop][: config.max_video_len]
    padding = config.max_video_len - len(frames)
    return {
        "video": np.pad(frames, ((0, padding), (0, 0))),
        "video_mask": np.arange(config.max_video_len) < len(frames),
    }


def text(config: VLMConfig, tokens: np.ndarray) -> Example:
    """Returns `text` [T], the token ids cut, closed by [SEP] and padded, and `text_mask` [T]."""
    tokens = tokens[: config.max_text_len - 1]
    ids = np.full(config.max_text_len, config.pad_id, np.int32)
    ids[: len(tokens)] = tokens
    ids[len(tokens)] = config.sep_id
    return {"text": ids, "text_mask": np.arange(config.max_text_len) <= len(tokens)}


def tokens(texts: dict[str, Any]) -> list[np.ndarray]:
    """Returns the token ids of each text of a record's field."""
    if not len(texts["num_tokens"]):
        return []
    return np.split(texts["tokens"], np.cumsum(texts["num_tokens"])[:-1])


def clips(texts: dict[str, Any], seconds_per_feature: float, num_features: int) -> list[Clip]:
    """Returns the features that each timed text touches."""
    seconds = np.stack([texts["start"], texts["end"]], 1)
    places = in_features(seconds, seconds_per_feature, np.round)
    return [
        Clip(max(min(math.floor(start), stop), 0), max(stop, 0))
        for start, end in places.tolist()
        for stop in [min(math.ceil(end), num_features)]
    ]


def stack(examples: Iterable[Example], size: int) -> Iterator[tuple[Example, int]]:
    """Yields batches of one size, each with its number of real examples; fills up the last."""
    waiting: list[Example] = []
    for example in examples:
        waiting.append(example)
        if len(waiting) == size:
            yield _stack(waiting), size
            waiting = []
    if waiting:
        filled = waiting + [waiting[-1]] * (size - len(waiting))
        yield _stack(filled), len(waiting)


def _stack(examples: list[Example]) -> Example:
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}
