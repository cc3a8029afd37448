"""Corpus moment retrieval on the demo: a step's text against all videos of the test split.

    python benchmarks/corpus_moments.py --data_dir=demo-run/data --out=runs/tasks

Each seed has a VLM that is only pre-trained, the same VLM fine-tuned for step localisation on all
training videos, and VideoCLIP without fine-tuning. Finished runs are not repeated. Prints a table
of medians and of each seed, and another of intervals.
"""

import json
import sys
from pathlib import Path
from typing import Any

from vtmask.evaluation.report import number

sys.path.insert(0, str(Path(__file__).parents[1]))  # where configs and benchmarks are

from benchmarks import tasks
from configs import demo_corpus_moments, zeroshot

MODELS = {  # folder of a seed's run, and whether the zero-shot recipe evaluates it
    "VLM, pre-trained": ("pre-trained/pretrain", True),
    "VLM, fine-tuned": ("pre-trained/search", False),
    "VideoCLIP": ("videoclip", True),
}
OUT = "corpus_moments"


def main() -> None:
    options = tasks.parse(__doc__)
    seeds = [options.out / f"seed-{seed}" for seed in range(options.seeds)]
    for seed, folder in enumerate(seeds):
        for recipe, name in (
            ("demo", "pre-trained/pretrain"),
            ("demo_localization:all", "pre-trained/search"),
            ("demo_videoclip", "videoclip"),
        ):
            config = tasks.recipe(recipe, options, seed)
            if name == "pre-trained/search":
                config.init_from = str(folder / "pre-trained/pretrain/export")
            tasks.train_once(config, folder / name)
        for name, zero_shot in MODELS.values():
            config = (
                zeroshot.get_config("demo_corpus_moments")
                if zero_shot
                else demo_corpus_moments.get_config()
            )
            config.data.dir = options.data_dir
            tasks.evaluate_once(config, folder / name, OUT)
    runs = {
        model: [json.loads((folder / name / OUT / "metrics.json").read_text()) for folder in seeds]
        for model, (name, _) in MODELS.items()
    }
    print_tables(runs)


def print_tables(runs: dict[str, list[Any]]) -> None:
    """Medians over seeds with every seed's figure; and the first seed's intervals."""
    first = next(iter(runs.values()))[0]
    columns = list(first["metrics"]["IoU 0.5"])
    header = "| | " + " | ".join(columns) + " |\n|---|" + "---:|" * len(columns)
    for row in first["metrics"]:
        print(f"\n{row}\n\n{header}")
        chance = first["baselines"][f"chance, {row}"]
        print("| chance | " + " | ".join(number(c, chance[c]) for c in columns) + " |")
        for model, seeds in runs.items():
            print(f"| {model} | " + " | ".join(tasks.median(seeds, row, c) for c in columns) + " |")
    print(f"\n95 % intervals of seed 0\n\n{header}")
    for row in first["metrics"]:
        for model, seeds in runs.items():
            bounds = (seeds[0]["intervals"][row][column] for column in columns)
            cells = (
                f"{number(c, a)} to {number(c, b)}"
                for c, (a, b) in zip(columns, bounds, strict=True)
            )
            print(f"| {model}, {row} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
