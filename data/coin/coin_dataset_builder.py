"""TFDS builder of COIN; README.md says which files it reads."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from vtmask import files
from vtmask.datasets import records
from vtmask.datasets.builder import VideoTextBuilder
from vtmask.datasets.entries import (
    Entry,
    FeatureFile,
    FeatureLabels,
    Skipped,
    TimedTexts,
    Value,
    Video,
)
from vtmask.errors import UserError
from vtmask.files import activitynet
from vtmask.files.subtitles import Caption

_FILE = "COIN.json"
_SUBSETS = {"training": "train", "testing": "test"}
_STEP_ID = re.compile("[1-9][0-9]{0,5}")


class Step(NamedTuple):
    """A segment of a video: the id of the step it shows, from 1, and the step's name with times."""

    step_id: int
    line: Caption


class Labelled(NamedTuple):
    """The segments of a video, in file order, and the name of its task."""

    steps: list[Step]
    task: str


class Builder(VideoTextBuilder):
    """How-to videos whose segments are labelled with steps."""

    def annotations(self) -> dict[str, Any]:
        return {
            "steps": records.timed_texts() | {"label": records.integers()},
            "labels": records.integers(),
            "task": tfds.features.Text(),
        }

    def splits(self, folder: Path) -> dict[str, list[Entry]]:
        path = folder / _FILE
        database = activitynet.read(path)
        read = {video_id: _read(record) for video_id, record in database.items()}
        labelled = [video for video in read.values() if isinstance(video, Labelled)]
        names = step_names(path, [step for video in labelled for step in video.steps])
        self.info.metadata["class_names"] = ["background", *names.values()]
        classes = {step_id: number for number, step_id in enumerate(names, 1)}
        splits: dict[str, list[Entry]] = {split: [] for split in _SUBSETS.values()}
        for video_id, video in read.items():
            where = f"{path}: video {video_id}"
            split = activitynet.split_of(database[video_id], _SUBSETS, where)
            splits[split].append(
                self._video(folder, video_id, video, classes)
                if isinstance(video, Labelled)
                else Skipped(video_id, str(video))
            )
        return splits

    def _video(
        self, folder: Path, video_id: str, labelled: Labelled, classes: Mapping[int, int]
    ) -> Video:
        lines = [step.line for step in labelled.steps]
        labels = [classes[step.step_id] for step in labelled.steps]
        spans = [(line.start, line.end, label) for line, label in zip(lines, labels, strict=True)]
        return Video(
            video_id,
            FeatureFile(folder / self.builder_config.features / f"{video_id}.npy"),
            annotations={
                "steps": TimedTexts(lines, labels),
                "labels": FeatureLabels(spans),
                "task": Value(labelled.task),
            },
        )


def _read(record: Any) -> Labelled | UserError:
    """Reads a record, or returns the error if it can't be read."""
    try:
        annotations = files.field(record, "annotation", list, _FILE)
        steps = [_step(a, f"{_FILE}: annotation {index}") for index, a in enumerate(annotations)]
        return Labelled(steps, files.field(record, "class", str, _FILE))
    except UserError as error:
        return error


def _step(annotation: Any, where: str) -> Step:
    step_id = str(files.field(annotation, "id", (str, int), where))
    if not _STEP_ID.fullmatch(step_id):
        raise UserError(f"{where}: field 'id' is {step_id[:60]!r}, expected a number from 1")
    name = " ".join(files.field(annotation, "label", str, where).split())
    if not name:
        raise UserError(f"{where}: field 'label' is empty, expected the step's name")
    return Step(int(step_id), Caption(*activitynet.segment(annotation, where), name))


def step_names(path: Path, steps: Iterable[Step]) -> dict[int, str]:
    """Returns step id → name, in the order of ids; a UserError if an id has two names."""
    names: dict[int, str] = {}
    for step_id, line in steps:
        known = names.setdefault(step_id, line.text)
        if known != line.text:
            raise UserError(
                f"{path}: step id {step_id} is both {known!r} and {line.text!r}; an id has one "
                "label"
            )
    return dict(sorted(names.items()))
