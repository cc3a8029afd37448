"""Runs on disk, for comparison: their configs, curves and evaluations."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vtmask import disk
from vtmask.errors import UserError
from vtmask.evaluation.report import Intervals, Table
from vtmask.training.curves import read_metrics


@dataclasses.dataclass(frozen=True)
class SavedEvaluation:
    """The results that `evaluate.py` saved in a folder.

    Attributes:
      folder: has metrics.json, and report.html beside it.
      facts: of the model and the data: "task", "data set", "split", "videos", ….
      metrics, intervals, baselines: as in `vtmask.evaluation.base.Evaluation`.
    """

    folder: Path
    facts: Mapping[str, Any]
    metrics: Table
    intervals: Intervals
    baselines: Table

    @property
    def subject(self) -> tuple[Any, ...]:
        """The task and data. Evaluations with equal subjects can be compared."""
        return tuple(self.facts[name] for name in ("task", "data set", "split", "videos"))


@dataclasses.dataclass(frozen=True)
class Run:
    """The content of a workdir or of an evaluation's folder.

    Attributes:
      config: values of the config by field, such as "optim.lr"; empty if the folder has no config.
      lines: of metrics.jsonl, each with "step" and some of the curves, such as "loss" and
        "validation/loss".
      evaluations: in the folder and in the folders directly inside it.
    """

    folder: Path
    config: Mapping[str, Any]
    lines: Sequence[Mapping[str, float]]
    evaluations: Sequence[SavedEvaluation]

    def curve(self, name: str) -> list[tuple[float, float]]:
        """Returns (step, value) of each line that has this curve."""
        return [(line["step"], line[name]) for line in self.lines if name in line]


@dataclasses.dataclass(frozen=True)
class Row:
    """A run's figures in a comparison.

    Attributes:
      run: the run's name.
      label: the run's name, with the evaluation's folder if the run has several.
      folder: of the evaluation.
      figures: by column, such as {"R@1": 0.2}.
      intervals: of some or none of the figures.
    """

    run: str
    label: str
    folder: Path
    figures: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The same figures of several runs.

    Attributes:
      title: the figures' row and the data.
      baselines: rows of figures, which may lack columns.
      rows: of runs.
    """

    title: str
    baselines: Table
    rows: Sequence[Row]

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(column for row in self.rows for column in row.figures))


def read(folder: Path) -> Run:
    """Reads a run.

    Args:
      folder: a workdir of train.py, or a folder that evaluate.py wrote.

    Raises:
      UserError: the folder holds neither, or a file in it is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected the workdir of a run")
    config, curves = folder / "config.json", folder / "metrics.jsonl"
    evaluations = sorted([*folder.glob("metrics.json"), *folder.glob("*/metrics.json")])
    if not (config.exists() or curves.exists() or evaluations):
        raise UserError(
            f"{folder}: holds no run; expected config.json, metrics.jsonl or */metrics.json"
        )
    return Run(
        folder,
        dict(_flat(_read_json(config))) if config.exists() else {},
        _read_lines(curves) if curves.exists() else [],
        [_read_evaluation(path) for path in evaluations],
    )


def names(folders: Sequence[disk.AnyPath]) -> list[str]:
    """Names runs by the parts of their folders' paths in which they differ.

    Common parts before and after are left out: a/seed-0/qa and a/seed-1/qa are seed-0 and seed-1.
    """
    paths = [disk.resolve(folder).parts for folder in folders]
    if len(set(paths)) == 1:
        return [path[-1] for path in paths]
    least = min(map(len, paths))
    before = next((i for i in range(least) if len({path[i] for path in paths}) > 1), least)
    rest = [path[before:] for path in paths]
    least = min(map(len, rest))
    after = next((i for i in range(least) if len({path[-1 - i] for path in rest}) > 1), least)
    return ["/".join(path[: len(path) - after]) or "." for path in rest]


def config_differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Returns the fields in which configs differ.

    Args:
      configs: values by field. An empty config is unknown and differs from none.

    Returns:
      field → its value in each config as text, "–" if a config lacks the field.
    """
    fields = dict.fromkeys(field for config in configs for field in config)
    values = {field: [_text(config.get(field)) for config in configs] for field in fields}
    return {
        field: texts
        for field, texts in values.items()
        if len({text for text, config in zip(texts, configs, strict=True) if config}) > 1
    }


def comparisons(runs: Mapping[str, Run]) -> list[Comparison]:
    """Puts evaluations on the same task and data side by side.

    A run that was evaluated twice on the same data has two rows.

    Args:
      runs: by name.
    """
    by_subject: dict[tuple[Any, ...], list[tuple[str, str, SavedEvaluation]]] = {}
    for name, run in runs.items():
        subjects = [evaluation.subject for evaluation in run.evaluations]
        for evaluation in run.evaluations:
            several = subjects.count(evaluation.subject) > 1
            label = f"{name}, {evaluation.folder.name}" if several else name
            by_subject.setdefault(evaluation.subject, []).append((name, label, evaluation))
    return [
        Comparison(
            title=f"{row}, {videos} videos of {data_set} {split}",
            baselines=dict(pair for _, _, e in evaluations for pair in e.baselines.items()),
            rows=[
                Row(name, label, e.folder, e.metrics[row], e.intervals.get(row, {}))
                for name, label, e in evaluations
                if row in e.metrics
            ],
        )
        for (_, data_set, split, videos), evaluations in by_subject.items()
        for row in dict.fromkeys(row for _, _, e in evaluations for row in e.metrics)
    ]


def _read_evaluation(path: Path) -> SavedEvaluation:
    saved = _read_json(path)
    try:
        evaluation = SavedEvaluation(
            path.parent,
            saved,
            *(saved.pop(name) for name in ("metrics", "intervals", "baselines")),
        )
        _ = evaluation.subject
    except KeyError as error:
        raise UserError(
            f"{path}: has no field {error.args[0]!r}; evaluate.py writes such files"
        ) from error
    return evaluation


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: is a {type(content).__name__}, expected a JSON object")
    return content


def _read_lines(path: Path) -> list[dict[str, float]]:
    try:
        return read_metrics(path)
    except ValueError as error:
        raise UserError(f"{path}: a line is not JSON ({error})") from error


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value)
