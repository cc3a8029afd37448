"""TFDS builder of COIN; README.md says which files it reads."""

import re
from collections.abc import Iterable
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
    """A segment of a video: the id of what it shows, from 1, and its name with times."""

    label: int
    line: Caption


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
        splits: dict[str, list[Entry]] = {split: [] for split in _SUBSETS.values()}
        every: list[Step] = []
        for video_id, record in activitynet.read(path).items():
            split = activitynet.split_of(record, _SUBSETS, f"{path}: video {video_id}")
            try:
                steps = read_steps(record)
                task = files.field(record, "class", str, _FILE)
            except UserError as error:
                splits[split].append(Skipped(video_id, str(error)))
                continue
            splits[split].append(self._video(folder, video_id, steps, task))
            every += steps
        self.info.metadata["class_names"] = class_names(path, every)
        return splits

    def _video(self, folder: Path, video_id: str, steps: list[Step], task: str) -> Video:
        lines = [step.line for step in steps]
        labels = [step.label for step in steps]
        return Video(
            video_id,
            FeatureFile(folder / self.builder_config.features / f"{video_id}.npy"),
            annotations={
                "steps": TimedTexts(lines, labels),
                "labels": FeatureLabels([(line.start, line.end, label) for label, line in steps]),
                "task": Value(task),
            },
        )


def read_steps(record: Any) -> list[Step]:
    """The segments of a record, in its order; a UserError names one that is no step."""
    annotations = files.field(record, "annotation", list, _FILE)
    return [_step(a, f"{_FILE}: annotation {index}") for index, a in enumerate(annotations)]


def _step(annotation: Any, where: str) -> Step:
    step_id = str(files.field(annotation, "id", (str, int), where))
    if not _STEP_ID.fullmatch(step_id):
        raise UserError(f"{where}: field 'id' is {step_id[:60]!r}, expected a number from 1")
    name = " ".join(files.field(annotation, "label", str, where).split())
    if not name:
        raise UserError(f"{where}: field 'label' is empty, expected the step's name")
    return Step(int(step_id), Caption(*activitynet.segment(annotation, where), name))


def class_names(path: Path, steps: Iterable[Step]) -> list[str]:
    """Names by class: "background", then those of the steps by id.

    Raises:
      UserError: an id with two names, or one that no step has below one that a step has.
    """
    names = {0: "background"}
    for label, line in steps:
        known = names.setdefault(label, line.text)
        if known != line.text:
            raise UserError(
                f"{path}: step id {label} is both {known!r} and {line.text!r}; an id has one label"
            )
    missing = set(range(len(names))) - names.keys()
    if missing:
        raise UserError(
            f"{path}: has step id {max(names)}, but none is {min(missing)}; is the file whole?"
        )
    return [names[label] for label in range(len(names))]
