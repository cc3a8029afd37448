"""VideoCLIP on the demo, zero-shot: batches of similar videos against batches of random videos.

    python benchmarks/videoclip.py --data_dir=demo-run/data --out=runs/videoclip

Each seed is pre-trained with both kinds of batches, and evaluated on the test split without any
fine-tuning. Finished runs are not repeated. Prints a table of medians and of each seed.
"""

import json
import sys
from pathlib import Path

from vtmask.evaluation.report import number

sys.path.insert(0, str(Path(__file__).parents[1]))  # where configs and benchmarks are

from benchmarks import tasks
from configs import demo_videoclip, zeroshot

BATCHES = {"random": False, "retrieval-augmented": True}
# A task's recipe → the rows and columns to show.
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
    options = tasks.parse(__doc__)
    seeds = [options.out / f"seed-{seed}" for seed in range(options.seeds)]
    for seed, folder in enumerate(seeds):
        for name, augmented in BATCHES.items():
            run(folder / name, seed, augmented, options.data_dir)

    print("| task | figure | baseline | " + " | ".join(BATCHES) + " |")
    print("|---|---|---:|" + "---:|" * len(BATCHES))
    for recipe, figures in FIGURES.items():
        evaluated = {
            name: [
                json.loads((folder / name / recipe / "metrics.json").read_text())
                for folder in seeds
            ]
            for name in BATCHES
        }
        first = evaluated["random"][0]
        [baseline] = first["baselines"].values()
        for row, column in figures:
            cells = [tasks.median(runs, row, column) for runs in evaluated.values()]
            line = [
                first["task"],
                f"{row}: {column}",
                number(column, baseline[column]),
                *cells,
            ]
            print("| " + " | ".join(line) + " |")


def run(workdir: Path, seed: int, augmented: bool, data_dir: str) -> None:
    """Pre-trains and evaluates, unless that is done."""
    config = demo_videoclip.get_config()
    config.data.dir, config.seed = data_dir, seed
    config.retrieval_augmented.enabled = augmented
    tasks.train_once(config, workdir)
    for recipe in FIGURES:
        config = zeroshot.get_config(recipe)
        config.data.dir = data_dir
        tasks.evaluate_once(config, workdir, recipe)


if __name__ == "__main__":
    main()
