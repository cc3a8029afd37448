"""Evaluates a model on a recipe's task; writes metrics.json and report.html.

    python evaluate.py --config=configs/demo_retrieval.py --model=runs/retrieval/export \\
        --out=runs/retrieval/test
"""

from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from vtmask import cli, export, tasks
from vtmask.errors import UserError
from vtmask.evaluation import report, retrieval
from vtmask.export import Model
from vtmask.inputs import clips
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.pipeline import evaluation_batches
from vtmask.tasks.retrieval import Retrieval

CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe of the task and its data.")
MODEL = flags.DEFINE_string("model", None, "Folder of an exported model.", required=True)
OUT = flags.DEFINE_string("out", None, "Folder of the report and metrics.json.", required=True)
flags.mark_flag_as_required("config")


def main() -> None:
    config, out = CONFIG.value, Path(OUT.value)
    task = tasks.create(config.task)
    if not isinstance(task, Retrieval):
        raise UserError(f"config.task.name is {config.task.name!r}; evaluate.py knows 'retrieval'")
    model = export.load(MODEL.value)
    require_same_task(model, config.task.to_dict())
    dataset = Dataset(config.data.name, config.eval.split, config.data.dir or None)
    model.require_same_inputs(dataset)
    sampler = clips.Descriptions(model.module.sizes, random=False)
    batches = evaluation_batches(dataset, sampler, config.eval.batch_size)
    scores, found = retrieval.evaluate(*retrieval.embed(model, task, batches))
    facts = {
        "model": MODEL.value,
        "pre-trained": model.config["init_from"] or "no",
        "training steps": model.config["num_steps"],
        "isolated layers": task.isolated_layers,
        "data set": dataset.name,
        "split": config.eval.split,
        "videos": dataset.num_records,
        "features": dataset.feature_extractor,
    }
    examples = [example(dataset, i) for i in range(dataset.num_records)]
    out.mkdir(parents=True, exist_ok=True)
    report.write_retrieval_report(
        out / "report.html", f"Retrieval on {dataset.name}", scores, examples, found, facts
    )
    retrieval.write_metrics(out / "metrics.json", found, facts)
    for direction, values in found.items():
        print(f"{direction}: " + "  ".join(f"{k} {v:.3g}" for k, v in values.items()))
    print(f"Report: {out / 'report.html'}")


def require_same_task(model: Model, task: dict[str, Any]) -> None:
    """UserError where a fine-tuned model is to be evaluated otherwise than it was trained."""
    trained = model.config["task"]
    for name, value in task.items():
        if trained["name"] == task["name"] and trained[name] != value:
            raise UserError(
                f"config.task.{name} is {value!r}, but {MODEL.value} was trained with "
                f"{trained[name]!r}"
            )


def example(dataset: Dataset, index: int) -> report.Example:
    """What the report shows of a video."""
    record = dataset[index]
    return report.Example(
        video_id=record["video_id"],
        text=record["descriptions"]["text"][0],
        captions=record["captions"]["text"],
        video=dataset.path / record["video"] if record["video"] else None,
    )


if __name__ == "__main__":
    cli.run(main)
