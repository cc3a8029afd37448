"""Does pre-training help, and which of its parts? The demo's tasks over several seeds.

    python benchmarks/tasks.py --data_dir=demo-run/data --out=runs/tasks

For each seed: pre-training, as in the paper and with parts of it left out; then every task from
scratch and from the pre-trained models, in equal steps, evaluated on the test split. Finished runs
are not repeated. Prints tables of medians and of each seed, and writes OUT/TASK.html, which
compares all runs of a task.
"""

import argparse
import importlib
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vtmask.evaluation.compare import compare
from vtmask.evaluation.report import number

sys.path.insert(0, str(Path(__file__).parents[1]))  # where train.py and evaluate.py are

import evaluate
import train

PRETRAINING: dict[str, dict[str, Any]] = {
    "pre-trained": {},
    "without MMM": {"masking": {"mm_prob": 0.0}},
    "MFM+MLM": {"objective": "mfm_mlm"},
}
SCRATCH = "from scratch"
# A task's recipe → the row and the columns to show.
TASKS = {
    "retrieval": ("text to video", ("R@1", "R@5", "R@10", "MedR")),
    "captioning": ("captions", ("BLEU-4", "ROUGE-L", "CIDEr")),
    "qa": ("questions", ("accuracy",)),
    "localization": ("mean over tasks", ("recall",)),
    "segmentation": ("features", ("frame accuracy",)),
    "moments": ("sentences", ("rank@1", "rank@5", "mIoU")),
}
ABLATED = ("retrieval", "captioning")  # the others are run from scratch and fully pre-trained


def main() -> None:
    options = parse(__doc__)
    seeds = [options.out / f"seed-{seed}" for seed in range(options.seeds)]
    for seed, folder in enumerate(seeds):
        for name, changes in PRETRAINING.items():
            config = recipe("demo", options, seed)
            config.task.update(changes)
            train_once(config, folder / name / "pretrain")
        for task in TASKS:
            for name in starts(task):
                config = recipe(f"demo_{task}", options, seed)
                if name != SCRATCH:
                    config.init_from = str(folder / name / "pretrain/export")
                train_once(config, folder / name / task)
                for out, changes in evaluations(task).items():
                    config.eval.update(changes)
                    evaluate_once(config, folder / name / task, out)
    for task, (row, columns) in TASKS.items():
        runs = [folder / name / task for name in starts(task) for folder in seeds]
        compare(runs, options.out / f"{task}.html")
        for out in evaluations(task):
            print_table(task, row, columns, seeds, out)


def parse(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data_dir", required=True, help="has demo/default")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args()


def starts(task: str) -> Iterator[str]:
    """Yields the starts of a task's fine-tuning."""
    yield SCRATCH
    yield from PRETRAINING if task in ABLATED else list(PRETRAINING)[:1]


def evaluations(task: str) -> dict[str, dict[str, str]]:
    """Folders of a task's evaluations, and what each changes in the recipe's `eval`."""
    return {"test": {}, "hard": {"field": "hard_choices"}} if task == "qa" else {"test": {}}


def print_table(task: str, row: str, columns: tuple[str, ...], seeds: list[Path], out: str) -> None:
    """Medians over seeds and, in parentheses, every seed's figure."""
    of_starts = {
        name: [
            json.loads((folder / name / task / out / "metrics.json").read_text())
            for folder in seeds
        ]
        for name in starts(task)
    }
    print(f"\n| {task}, {out} | " + " | ".join(columns) + " |\n|---|" + "---:|" * len(columns))
    for name, values in next(iter(of_starts.values()))[0]["baselines"].items():
        cells = (number(column, values[column]) if column in values else "" for column in columns)
        print(f"| {name} | " + " | ".join(cells) + " |")
    for name, runs in of_starts.items():
        medians = (median(runs, row, column) for column in columns)
        print(f"| {name} | " + " | ".join(medians) + " |")


def median(runs: list[Any], row: str, column: str) -> str:
    """A figure's median over runs and, in parentheses, each run's."""
    figures = [run["metrics"][row][column] for run in runs]
    each = ", ".join(number(column, figure) for figure in figures)
    return f"**{number(column, statistics.median(figures))}** ({each})"


def recipe(name: str, options: argparse.Namespace, seed: int) -> ConfigDict:
    module, *argument = name.split(":")
    config = importlib.import_module(f"configs.{module}").get_config(*argument)
    config.data.dir, config.seed = options.data_dir, seed
    return config


def train_once(config: ConfigDict, workdir: Path) -> None:
    if not (workdir / "export").exists():
        print(f"\n{workdir}", flush=True)
        train.main(config, workdir)


def evaluate_once(config: ConfigDict, workdir: Path, out: str = "test") -> None:
    config.eval.split = "test"
    if not (workdir / out / "metrics.json").exists():
        evaluate.main(config, str(workdir / "export"), workdir / out)


if __name__ == "__main__":
    main()
