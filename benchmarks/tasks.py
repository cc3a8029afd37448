"""Does pre-training help, and which parts of it? The demo's tasks over several seeds.

    python benchmarks/tasks.py --data_dir=demo-run/data --out=runs/tasks

Each seed: pre-training, as in the paper and with parts of it left out; then every task from scratch
and from the pre-trained models, in equal steps, evaluated on the test split. What is finished is
not run again. Prints tables of medians and of each seed.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from vtmask.evaluation.report import number

ROOT = Path(__file__).parents[1]
PRETRAINING = {
    "pre-trained": [],
    "without MMM": ["--config.task.masking.mm_prob=0"],
    "MFM+MLM": ["--config.task.objective=mfm_mlm"],
}
SCRATCH = "from scratch"
# A task's recipe, and which of its figures are shown.
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", type=absolute, required=True, help="has demo/default")
    parser.add_argument("--out", type=absolute, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()

    seeds = [options.out / f"seed-{seed}" for seed in range(options.seeds)]
    for seed, folder in enumerate(seeds):
        overrides = [f"--config.data.dir={options.data_dir}", f"--config.seed={seed}"]
        for name, changes in PRETRAINING.items():
            train("configs/demo.py", folder / name / "pretrain", [*overrides, *changes])
        for task in TASKS:
            for name in starts(task):
                start = "" if name == SCRATCH else folder / name / "pretrain/export"
                recipe = f"configs/demo_{task}.py"
                train(recipe, folder / name / task, [*overrides, f"--config.init_from={start}"])
                evaluate(recipe, folder / name / task, overrides)
    for task, (row, columns) in TASKS.items():
        print_table(task, row, columns, seeds)


def starts(task: str) -> Iterator[str]:
    """What a task's fine-tuning starts from."""
    yield SCRATCH
    yield from PRETRAINING if task in ABLATED else list(PRETRAINING)[:1]


def print_table(task: str, row: str, columns: tuple[str, ...], seeds: list[Path]) -> None:
    """Medians over seeds and, in parentheses, every seed's figure."""
    found = {
        name: [
            json.loads((folder / name / task / "test/metrics.json").read_text()) for folder in seeds
        ]
        for name in starts(task)
    }
    print(f"\n| {task} | " + " | ".join(columns) + " |\n|---|" + "---:|" * len(columns))
    for name, values in next(iter(found.values()))[0]["baselines"].items():
        cells = (number(column, values[column]) if column in values else "" for column in columns)
        print(f"| {name} | " + " | ".join(cells) + " |")
    for name, runs in found.items():
        cells = []
        for column in columns:
            figures = [run["metrics"][row][column] for run in runs]
            each = ", ".join(number(column, figure) for figure in figures)
            cells.append(f"**{number(column, statistics.median(figures))}** ({each})")
        print(f"| {name} | " + " | ".join(cells) + " |")


def absolute(path: str) -> Path:
    return Path(path).absolute()


def train(recipe: str, workdir: Path, overrides: list[str]) -> None:
    if not (workdir / "export").exists():
        run("train.py", f"--config={recipe}", f"--workdir={workdir}", *overrides)


def evaluate(recipe: str, workdir: Path, overrides: list[str]) -> None:
    model, out = workdir / "export", workdir / "test"
    if not (out / "metrics.json").exists():
        split = "--config.eval.split=test"
        run(
            "evaluate.py",
            f"--config={recipe}",
            f"--model={model}",
            f"--out={out}",
            *overrides,
            split,
        )


def run(*command: str) -> None:
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
