"""TFDS builder of CrossTask; README.md says which files it reads."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from vtmask import files
from vtmask.datasets import records
from vtmask.datasets.builder import VideoTextBuilder
from vtmask.datasets.entries import Entry, FeatureFile, Skipped, Texts, TimedTexts, Value, Video
from vtmask.errors import UserError, reason
from vtmask.files.subtitles import Caption

_NUM_TRAIN = 30  # training videos per primary task


class Task(NamedTuple):
    """The title of a task, and its steps in order."""

    title: str
    steps: tuple[str, ...]


class Listed(NamedTuple):
    """A video as an example of a task; it may also be an example of another task."""

    task: str
    video: str

    @property
    def name(self) -> str:
        return f"{self.task}_{self.video}"


class Builder(VideoTextBuilder):
    """How-to videos with the times of their tasks' steps."""

    def annotations(self) -> dict[str, Any]:
        return {
            "steps": records.timed_texts() | {"label": records.integers()},
            "step_texts": records.texts(),
            "task": tfds.features.Text(),
            "title": tfds.features.Text(),
        }

    def splits(self, folder: Path) -> dict[str, Iterator[Entry]]:
        release = folder / "crosstask_release"
        primary = read_tasks(release / "tasks_primary.txt")
        related = read_tasks(release / "tasks_related.txt")
        for task in related:
            if task in primary:
                raise UserError(
                    f"{release / 'tasks_related.txt'}: task {task} is a primary one, too"
                )
        tasks = primary | related
        annotated = _file_names(release / "annotations")
        validation = read_videos(release / "videos_val.csv")
        others = _without(read_videos(release / "videos.csv"), validation)
        usable = [v for v in others if v.task in tasks and f"{v.name}.csv" in annotated]
        test = draw_test(usable, primary)
        train = _without(others, test)
        splits = {"train": train, "validation": validation, "test": test}
        return {
            split: self._entries(folder, release / "annotations", videos, tasks, annotated)
            for split, videos in splits.items()
        }

    def _entries(
        self,
        folder: Path,
        annotations: Path,
        videos: Iterable[Listed],
        tasks: Mapping[str, Task],
        annotated: Container[str],
    ) -> Iterator[Entry]:
        for listed in videos:
            file = f"{listed.name}.csv"
            if listed.task not in tasks:
                yield Skipped(listed.name, f"task {listed.task} is neither primary nor related")
            elif file not in annotated:
                yield Skipped(listed.name, f"{annotations / file}: is missing; not annotated")
            else:
                yield self._entry(folder, listed, tasks[listed.task], annotations / file)

    def _entry(self, folder: Path, listed: Listed, task: Task, annotation: Path) -> Entry:
        try:
            steps = read_steps(annotation, task)
        except UserError as error:
            return Skipped(listed.name, str(error))
        return Video(
            listed.name,
            FeatureFile(folder / self.builder_config.features / f"{listed.video}.npy"),
            annotations={
                "steps": steps,
                "step_texts": Texts(task.steps),
                "task": Value(listed.task),
                "title": Value(task.title),
            },
        )


def draw_test(videos: Iterable[Listed], primary: Container[str]) -> list[Listed]:
    """Returns the test split: the rest of each primary task after 30 videos are drawn for training.

    A task with 30 videos or fewer has none in the test split. The draw is that of the published
    code (CrossTask's `random_split`, MMPT's `CrossTaskMetaProcessor`): NumPy's legacy generator
    with seed 0, over tasks in the order of their first video.

    Args:
      videos: the annotated videos outside the validation split.
    """
    by_task = defaultdict(list)
    for video in videos:
        by_task[video.task].append(video)
    rng = np.random.RandomState(0)
    test: list[Listed] = []
    for task, candidates in by_task.items():
        if task in primary and len(candidates) > _NUM_TRAIN:
            drawn = rng.choice(len(candidates), _NUM_TRAIN, replace=False)
            test += _without(candidates, [candidates[i] for i in drawn])
    return test


def read_tasks(path: Path) -> dict[str, Task]:
    """Reads tasks by id from blocks of five lines: id, title, address, number of steps, steps.

    Raises:
      UserError: a task occurs twice, a step is empty, or the number of steps is wrong.
    """
    tasks: dict[str, Task] = {}
    lines = enumerate(map(str.strip, files.read_text(path).splitlines()), 1)
    for number, task in lines:
        if not task:
            continue
        title, _, count, listed = (next(lines, (0, ""))[1] for _ in range(4))
        steps = tuple(map(str.strip, listed.split(",")))
        if count != str(len(steps)) or not all(steps):
            raise UserError(
                f"{path}: line {number + 3}: says {count[:60]!r} steps, but line {number + 4} "
                f"lists {listed[:60]!r}; the numbers must agree, and no step may be empty"
            )
        if task in tasks:
            raise UserError(f"{path}: line {number}: task {task[:60]} occurs twice")
        tasks[task] = Task(title, steps)
    return tasks


def read_videos(path: Path) -> list[Listed]:
    """Reads the videos from a table of task, video and address, without a header."""
    rows = files.read_csv(path, ("task", "video", "url"), header=False)
    return [Listed(row.fields["task"].strip(), row.fields["video"].strip()) for row in rows]


def read_steps(path: Path, task: Task) -> TimedTexts:
    """Reads a video's steps from a table of step (from 1), start and end, without a header.

    Raises:
      UserError: a field is not a number, or not a step of the task.
    """
    lines, labels = [], []
    for row in files.read_csv(path, ("step", "start", "end"), header=False):
        fields = row.fields
        try:
            step, start, end = int(fields["step"]), float(fields["start"]), float(fields["end"])
        except ValueError:
            raise UserError(
                f"{path}: line {row.line}: is {','.join(fields.values())[:60]!r}, expected "
                "numbers: step, start and end"
            ) from None
        if not 1 <= step <= len(task.steps):
            raise UserError(
                f"{path}: line {row.line}: step is {step}, expected 1 to {len(task.steps)}"
            )
        lines.append(Caption(start, end, task.steps[step - 1]))
        labels.append(step)
    return TimedTexts(lines, labels)


def _without(videos: Iterable[Listed], excluded: Iterable[Listed]) -> list[Listed]:
    apart = frozenset(excluded)
    return [video for video in videos if video not in apart]


def _file_names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {reason(error)}") from error
