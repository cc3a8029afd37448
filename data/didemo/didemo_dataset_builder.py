"""TFDS builder of DiDeMo; README.md says which files it reads."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from vtmask import files
from vtmask.datasets import records
from vtmask.datasets.builder import VideoTextBuilder
from vtmask.datasets.entries import Entry, FeatureFile, Skipped, Texts, Video
from vtmask.errors import UserError

_FILES = {"train": "train_data.json", "validation": "val_data.json", "test": "test_data.json"}
_MAX_SEGMENTS = 6  # of 5 seconds; longer videos were cut to 30 seconds for the annotators
_INT32 = np.iinfo(np.int32).max


class Moment(NamedTuple):
    """A sentence, and the first and last segment, from 0, in which each annotator saw it."""

    annotation_id: int
    description: str
    times: list[list[int]]
    num_segments: int


class Builder(VideoTextBuilder):
    """Videos of 25 to 30 seconds with sentences about moments in them."""

    def annotations(self) -> dict[str, Any]:
        moments = {
            "annotation_id": records.integers(),
            "times": tfds.features.Tensor(shape=(None, 2), dtype=np.int32),
            "num_times": records.integers(),
            "num_segments": records.integers(),
        }
        return {"moments": records.texts() | moments}

    def splits(self, folder: Path) -> dict[str, Iterator[Entry]]:
        paths = {split: folder / name for split, name in _FILES.items() if (folder / name).exists()}
        if not paths:
            raise UserError(f"{folder}: has none of {', '.join(_FILES.values())}; add at least one")
        return {split: self._entries(folder, path) for split, path in paths.items()}

    def _entries(self, folder: Path, path: Path) -> Iterator[Entry]:
        for video_id, items in _read(path).items():
            try:
                moments = [_moment(item, where) for where, item in items.items()]
                _check_ids(moments, path)
            except UserError as error:
                yield Skipped(video_id, str(error))
                continue
            names = dict.fromkeys([*(item["video"] for item in items.values()), video_id])
            paths = [folder / self.builder_config.features / f"{name}.npy" for name in names]
            texts = [moment.description for moment in moments]
            yield Video(
                video_id,
                FeatureFile(next(filter(os.path.exists, paths), paths[-1])),
                descriptions=texts,
                annotations={"moments": Texts(texts, _extra(moments))},
            )


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Reads the annotations of each video, by their place in the file.

    A video's id is its file name without the suffix, since some videos occur with two suffixes.
    """
    items = files.read_json(path)
    if not isinstance(items, list):
        raise UserError(f"{path}: is {type(items).__name__}, expected a list of annotations")
    videos: dict[str, dict[str, Any]] = {}
    for number, item in enumerate(items):
        where = f"{path}: entry {number}"
        name = files.field(item, "video", str, where).rsplit(".", 1)[0]
        videos.setdefault(name, {})[where] = item
    return videos


def _moment(item: Any, where: str) -> Moment:
    annotation_id = files.field(item, "annotation_id", int, where)
    if not 0 <= annotation_id <= _INT32:
        raise UserError(f"{where}: annotation_id is {annotation_id}, expected 0 to {_INT32}")
    where += f", annotation_id {annotation_id}"
    description = files.field(item, "description", str, where)
    if not description.strip():
        raise UserError(f"{where}: description is empty")
    num_segments = files.field(item, "num_segments", int, where)
    if not 1 <= num_segments <= _MAX_SEGMENTS:
        raise UserError(f"{where}: num_segments is {num_segments}, expected 1 to {_MAX_SEGMENTS}")
    times = files.field(item, "times", list, where)
    if not times:
        raise UserError(f"{where}: times are empty")
    for time in times:
        if not _is_time(time, num_segments):
            raise UserError(
                f"{where}: a time is {str(time)[:40]}, expected [first, last] with "
                f"0 <= first <= last < {num_segments}"
            )
    return Moment(annotation_id, description, times, num_segments)


def _is_time(time: Any, num_segments: int) -> bool:
    if not isinstance(time, list) or [type(index) for index in time] != [int, int]:
        return False
    first, last = time
    return 0 <= first <= last < num_segments


def _check_ids(moments: Sequence[Moment], path: Path) -> None:
    ids = [moment.annotation_id for moment in moments]
    twice = next((i for i in ids if ids.count(i) > 1), None)
    if twice is not None:
        raise UserError(f"{path}: annotation_id {twice} occurs twice")


def _extra(moments: Sequence[Moment]) -> dict[str, Any]:
    return {
        "annotation_id": np.array([moment.annotation_id for moment in moments], np.int32),
        "times": np.array([time for moment in moments for time in moment.times], np.int32),
        "num_times": np.array([len(moment.times) for moment in moments], np.int32),
        "num_segments": np.array([moment.num_segments for moment in moments], np.int32),
    }
