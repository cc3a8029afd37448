"""VideoCLIP on the demo, zero-shot: batches of videos alike against batches of random videos.

    python benchmarks/videoclip.py --data_dir=demo-run/data --out=runs/videoclip

Each seed is pre-trained with either kind of batches, and evaluated on the test split without any
fine-tuning. What is finished is not run again. Prints a table of medians and of each seed.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from vtmask.evaluation.report import number

sys.path.insert(0, str(Path(__file__).parents[1]))  # where train.py and evaluate.py are

import evaluate
import train
from configs import demo_videoclip, zeroshot

BATCHES = {"random": False, "retrieval-augmented": True}
# A task's recipe, and which of its figures are shown.
FIGURES = {
    "demo_retrieval": [
        ("text to video", "R@1"),
        ("text to video", "MedR"),
        ("video to text", "R@1"),
    ],
    "demo_moments": [("sentences", "rank@1"), ("sentences", "mIoU")],
    "demo_localization": [("mean over tasks", "recall")],
    "demo_segmentation": [("features", "frame accuracy"), ("best name", "frame accuracy")],
    "demo_qa": [("questions", "accuracy")],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", required=True, help="has demo/default")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for seed in range(options.seeds):
        for name in BATCHES:
            run(options.out / f"seed-{seed}" / name, seed, BATCHES[name], options.data_dir)

    print("| task | figure | knows nothing | " + " | ".join(BATCHES) + " |")
    print("|---|---|---:|" + "---:|" * len(BATCHES))
    for recipe, figures in FIGURES.items():
        for row, column in figures:
            cells = []
            for name in BATCHES:
                found = [
                    read(options.out / f"seed-{seed}" / name, recipe)
                    for seed in range(options.seeds)
                ]
                values = [f["metrics"][row][column] for f in found]
                each = ", ".join(number(column, value) for value in values)
                cells.append(f"**{number(column, statistics.median(values))}** ({each})")
            baseline = next(iter(found[0]["baselines"].values()))[column]
            told = [found[0]["task"], f"{row}: {column}", number(column, baseline), *cells]
            print("| " + " | ".join(told) + " |")


def run(workdir: Path, seed: int, augmented: bool, data_dir: str) -> None:
    """Pre-trains and evaluates what is not there yet."""
    config = demo_videoclip.get_config()
    config.data.dir, config.seed = data_dir, seed
    config.retrieval_augmented.enabled = augmented
    if not (workdir / "export").exists():
        print(f"\n{workdir}", flush=True)
        train.main(config, workdir)
    for recipe in FIGURES:
        config = zeroshot.get_config(recipe)
        config.data.dir, config.eval.split = data_dir, "test"
        if not (workdir / recipe / "metrics.json").exists():
            evaluate.main(config, str(workdir / "export"), workdir / recipe)


def read(workdir: Path, recipe: str) -> dict:
    return json.loads((workdir / recipe / "metrics.json").read_text())


if __name__ == "__main__":
    main()
