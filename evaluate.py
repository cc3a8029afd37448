"""Evaluates a model on a recipe's task; writes metrics.json, predictions.jsonl and report.html.

    python evaluate.py --config=configs/demo_retrieval.py --model=runs/retrieval/export \\
        --out=runs/retrieval/test
"""

import json
from typing import Any

from absl import flags
from etils import epath
from ml_collections import ConfigDict, config_flags

from vtmask import compatibility, disk, export, program, tasks
from vtmask.errors import UserError, check_choice
from vtmask.evaluation import curves, report
from vtmask.evaluation.base import Evaluation
from vtmask.evaluation.by_task import EVALUATIONS
from vtmask.export import Model
from vtmask.inputs.dataset import Dataset
from vtmask.training.curves import read_metrics


def main(config: ConfigDict, folder: str, out_folder: disk.AnyPath) -> None:
    """Evaluates the model exported to `folder`; writes into `out_folder`."""
    out = disk.resolve(out_folder)
    task = tasks.create(config.task)
    check_choice("config.task.name, to evaluate,", config.task.name, EVALUATIONS)
    model = export.load(folder)
    require_same_task(model, folder, config.task.to_dict())
    dataset = Dataset(config.data.name, config.eval.split, config.data.dir or None)
    model.require_same_inputs(dataset)
    evaluation = EVALUATIONS[config.task.name](model, task, dataset, config.eval)
    facts = {
        "task": config.task.name.replace("_", " "),
        "model": folder,
        "trained for": model.config["task"]["name"].replace("_", " "),
        "pre-trained": model.config["init_from"] or "no",
        "training steps": model.config["num_steps"],
        "data set": dataset.name,
        "split": config.eval.split,
        "videos": dataset.num_records,
        "features": dataset.feature_extractor,
    }
    settings = {name: str(value) for name, value in config.task.items() if name != "name"}
    facts |= {name.replace("_", " "): value for name, value in settings.items()}
    out.mkdir(parents=True, exist_ok=True)
    write_numbers(out, evaluation, facts)
    write_report(out / "report.html", evaluation, facts, disk.resolve(folder))
    for row, values in (*evaluation.metrics.items(), *evaluation.baselines.items()):
        line = "  ".join(f"{name} {report.number(name, v)}" for name, v in values.items())
        print(f"{row}: {line}")
    print(f"Report: {out / 'report.html'}")


def require_same_task(model: Model, folder: str, task: dict[str, Any]) -> None:
    """Raises a UserError if a fine-tuned model was trained with other settings of this task."""
    trained = model.config["task"]
    for name, value in task.items():
        known = trained["name"] == task["name"] and name in trained
        fixed = known and name not in compatibility.WHEN_EVALUATED
        if fixed and trained[name] != value:
            raise UserError(
                f"config.task.{name} is {value!r}, but {folder} was trained with {trained[name]!r}"
            )


def write_numbers(out: epath.Path, evaluation: Evaluation, facts: dict[str, Any]) -> None:
    """Writes metrics.json, which includes the facts, and predictions.jsonl."""
    numbers = {
        "metrics": evaluation.metrics,
        "intervals": evaluation.intervals,
        "baselines": evaluation.baselines,
    }
    (out / "metrics.json").write_text(json.dumps(facts | numbers, indent=2) + "\n")
    lines = (json.dumps(prediction) + "\n" for prediction in evaluation.predictions)
    (out / "predictions.jsonl").write_text("".join(lines))


def write_report(
    path: epath.Path, evaluation: Evaluation, facts: dict[str, Any], model: epath.Path
) -> None:
    """Writes report.html, with the curves of its training if the model lies in its workdir."""
    path_of_curves = model.parent / "metrics.jsonl"
    lines = read_metrics(path_of_curves) if path_of_curves.exists() else []
    training = curves.training_curves(lines) if any("loss" in line for line in lines) else None
    validation = curves.validation_curves(lines)
    title = f"{facts['task'].capitalize()} on {facts['data set']}"
    report.write(
        path,
        report.Report(
            title=title,
            metrics=evaluation.metrics,
            intervals=evaluation.intervals,
            baselines=evaluation.baselines,
            explanation=evaluation.explanation,
            headline=evaluation.headline,
            facts=facts,
            figures=[*evaluation.figures, *filter(None, (training, validation))],
            groups=evaluation.groups,
        ),
    )


if __name__ == "__main__":
    # Defined here, as a program that imports this file may have its own --config.
    CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe of the task and its data.")
    MODEL = flags.DEFINE_string(
        "model", None, "Folder or gs:// address of an export.", required=True
    )
    OUT = flags.DEFINE_string("out", None, "Folder or gs:// address of the report.", required=True)
    flags.mark_flag_as_required("config")
    program.run(lambda: main(CONFIG.value, MODEL.value, OUT.value))
