"""Reads features and token ids in the shards of MMPT, the published code of VLM and VideoCLIP.

A shard has several thousand videos of a split. An array of a shard concatenates the rows of all its
videos: NAME_data.npy holds the rows, and NAME_starts.npy, int [videos + 1], the first row of each
video and the end of the last. `shard_feature.py` and `pretokenization.py` write these for shard 0
of the split "train" and the captions "raw_caption_dedup.bert-base-uncased":

- train_meta.pkl: a dict, number of a shard → ids of its videos, in order;
- train_0: features, float [seconds, size];
- raw_caption_dedup.bert-base-uncased.train_0.caps_ids: ids of the first 32 tokens of each caption,
  int [captions, 32], padded with -1;
- raw_caption_dedup.bert-base-uncased.train_0.startends: start and end of each caption in seconds,
  float [captions, 2].
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vtmask import files
from vtmask.datasets.entries import Entry, Skipped, TimedTexts, Video
from vtmask.errors import UserError
from vtmask.files.subtitles import Caption

_NO_TOKEN = -1
_KINDS = {"f": "floats", "iu": "integers"}


@dataclass(frozen=True)
class Rows:
    """A source of features: a range of rows in a `.npy` file. No other rows are read."""

    path: Path
    start: int
    end: int

    def read(self) -> np.ndarray:
        return np.array(files.map_array(self.path)[self.start : self.end])


@dataclass(frozen=True)
class Array:
    """An array of a shard.

    Attributes:
      path: NAME_data.npy.
      starts: NAME_starts.npy, int64 [videos + 1].
    """

    path: Path
    starts: np.ndarray


@dataclass(frozen=True)
class Shard:
    """The videos of a shard and its arrays."""

    video_ids: list[str]
    features: Array
    token_ids: Array
    times: Array


class ShardVideo(NamedTuple):
    """A video of a shard.

    Attributes:
      token_ids: int [captions, 32], padded with -1.
      times: float [captions, 2], seconds.
    """

    features: Rows
    token_ids: np.ndarray
    times: np.ndarray


def find(folder: Path, split: str, captions: str) -> list[Shard]:
    """Opens the shards of a split.

    Args:
      split: as in the file names, "train" or "val".
      captions: the prefix of the captions' file names, before the split.

    Raises:
      UserError: a file is missing, damaged or inconsistent with another; the message names it.
    """
    shards = []
    meta = folder / f"{split}_meta.pkl"
    for number, video_ids in _read_meta(meta).items():
        features = _open(folder, f"{split}_{number}", "f")
        token_ids = _open(folder, f"{captions}.{split}_{number}.caps_ids", "iu")
        times = _open(folder, f"{captions}.{split}_{number}.startends", "f", width=2)
        for array in (features, token_ids, times):
            if len(array.starts) != len(video_ids) + 1:
                raise UserError(
                    f"{array.path}: has {len(array.starts) - 1} videos, but {meta.name} names "
                    f"{len(video_ids)} in shard {number}; use files from the same run of the script"
                )
        if not np.array_equal(token_ids.starts, times.starts):
            raise UserError(
                f"{times.path}: captions per video differ from {token_ids.path.name}; use files "
                "from the same run of the script"
            )
        shards.append(Shard(video_ids, features, token_ids, times))
    return shards


def videos(shards: Iterable[Shard], vocab_size: int) -> Iterator[tuple[str, ShardVideo]]:
    """Yields the ids and videos of the shards, in order.

    Raises:
      UserError: a token id is beyond the vocabulary, so another tokenizer made it.
    """
    for shard in shards:
        token_ids = files.read_array(shard.token_ids.path)
        highest = token_ids.max(initial=0)
        if highest >= vocab_size:
            raise UserError(
                f"{shard.token_ids.path}: has token id {highest}, but the tokenizer has only "
                f"{vocab_size} ids; give the tokenizer that the shards were made with"
            )
        times = files.read_array(shard.times.path)
        for i, video_id in enumerate(shard.video_ids):
            captions = slice(*shard.times.starts[i : i + 2])
            rows = Rows(shard.features.path, *shard.features.starts[i : i + 2].tolist())
            yield video_id, ShardVideo(rows, token_ids[captions], times[captions])


def entry(video_id: str, video: ShardVideo) -> Entry:
    """Returns a builder's entry for a video; captions keep their token ids, which give the text."""
    if not len(video.token_ids):
        return Skipped(video_id, "has no captions")
    bad = np.argwhere(video.token_ids < _NO_TOKEN)
    if len(bad):
        caption, place = bad[0]
        token_id = video.token_ids[caption, place]
        return Skipped(
            video_id, f"caption {caption}: has the token id {token_id}, expected none < -1"
        )
    lines = [Caption(start, end, "") for start, end in video.times.tolist()]
    token_ids = [row[row != _NO_TOKEN].tolist() for row in video.token_ids]
    return Video(video_id, video.features, TimedTexts(lines, tokens=token_ids))


def _read_meta(path: Path) -> dict[int, list[str]]:
    meta = files.read_pickle(path)
    if not isinstance(meta, dict):
        raise UserError(f"{path}: is {type(meta).__name__}, expected video ids by shard")
    for number, video_ids in meta.items():
        if type(number) is not int:
            raise UserError(f"{path}: has the key {number!r:.60}, expected numbers of shards")
        if not isinstance(video_ids, list) or not all(isinstance(v, str) for v in video_ids):
            raise UserError(f"{path}: shard {number}: expected a list of video ids")
    return meta


def _open(folder: Path, name: str, kind: str, width: int | None = None) -> Array:
    """Opens an array; checks its type, its width (None: any) and that it fits its starts."""
    path = folder / f"{name}_data.npy"
    data = files.map_array(path)
    if data.ndim != 2 or data.dtype.kind not in kind or width not in (None, data.shape[-1]):
        raise UserError(
            f"{path}: holds {data.dtype} of shape {data.shape}, expected {_KINDS[kind]} of shape "
            f"[rows, {width or 'width'}]"
        )
    path_of_starts = folder / f"{name}_starts.npy"
    starts = files.read_array(path_of_starts)
    if starts.ndim != 1 or starts.dtype.kind not in "iu" or not _rise(starts, len(data)):
        raise UserError(
            f"{path_of_starts}: does not fit {path.name}, expected integers that rise from 0 to "
            f"its {len(data)} rows; take files of one run of the script"
        )
    return Array(path, starts.astype(np.int64))


def _rise(starts: np.ndarray, end: int) -> bool:
    """Whether the starts go from 0 to `end` and never decrease."""
    return bool(len(starts) and starts[0] == 0 and starts[-1] == end) and bool(
        (starts[1:] >= starts[:-1]).all()
    )
