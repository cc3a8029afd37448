"""The gain of the best checkpoint and the cost of validation: the demo's retrieval, three seeds.

    python benchmarks/validation.py --data_dir=demo-run/data --out=runs/tasks

Shares its folder, and the pre-trained models in it, with benchmarks/tasks.py. Fine-tunes each with
the last checkpoint exported, with the best on the validation split, and for both directions. Prints
figures of the test split, and validation's share of the time of each run.
"""

import json
import statistics
from pathlib import Path

import tasks

from vtmask.evaluation.report import number

BEST = "validation/text_to_video/R@1"
RUNS: dict[str, dict[str, dict[str, str]]] = {
    "last checkpoint": {},
    "best checkpoint": {"checkpoint": {"best": BEST}},
    "both directions": {"task": {"direction": "both"}},
}
FIGURES = ("R@1", "R@5", "R@10", "MedR")


def main() -> None:
    options = tasks.parse(__doc__)
    seeds = [options.out / f"seed-{seed}" for seed in range(options.seeds)]
    for seed, folder in enumerate(seeds):
        pretrained = folder / "pre-trained/pretrain"
        tasks.train_once(tasks.recipe("demo", options, seed), pretrained)
        for start in (tasks.SCRATCH, "pre-trained"):
            for name, changes in RUNS.items():
                config = tasks.recipe("demo_retrieval", options, seed)
                config.update(changes)
                if start != tasks.SCRATCH:
                    config.init_from = str(pretrained / "export")
                workdir = folder / "validation" / start / name
                tasks.train_once(config, workdir)
                tasks.evaluate_once(config, workdir)
    for start in (tasks.SCRATCH, "pre-trained"):
        for row in ("text to video", "video to text"):
            print(f"\n| {start}, {row} | " + " | ".join(FIGURES) + " |")
            print("|---|" + "---:|" * len(FIGURES))
            for name in RUNS:
                runs = [
                    json.loads(
                        (folder / "validation" / start / name / "test/metrics.json").read_text()
                    )
                    for folder in seeds
                ]
                cells = (tasks.median(runs, row, figure) for figure in FIGURES)
                print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n| run | step of the best checkpoint | seconds of training | of which validation |")
    print("|---|---:|---:|---:|")
    for folder in seeds:
        print_cost(folder / "pre-trained/pretrain")
        for start in (tasks.SCRATCH, "pre-trained"):
            print_cost(folder / "validation" / start / "best checkpoint")


def print_cost(workdir: Path) -> None:
    """The seconds that training took, from the rates of its steps, and those of validation."""
    config = json.loads((workdir / "config.json").read_text())
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    validations = [row for row in rows if "validation/seconds" in row]
    validation = sum(row["validation/seconds"] for row in validations)
    logged = [row for row in rows if "samples_per_second" in row]
    rate = statistics.median(row["samples_per_second"] for row in logged)
    steps = config["num_steps"] * config["batch_size"] / rate
    best = "–"
    if BEST in validations[0]:  # the later of two that are equally good
        best = max(validations, key=lambda row: (row[BEST], row["step"]))["step"]
    print(
        f"| {'/'.join(workdir.parts[-3:])} | {best} | {steps + validation:.0f} | "
        f"{number('', validation / (steps + validation))} |"
    )


if __name__ == "__main__":
    main()
