"""Does pre-training help retrieval? The demo's runs over several seeds.

    python benchmarks/pretraining_helps.py --data_dir=demo-run/data --out=runs/pretraining_helps

Each seed: pre-training, then the same fine-tuning steps from scratch and from the pre-trained
model, evaluated on the test split. Finished runs of the same recipe are not trained again.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from vtmask.evaluation.compare import table
from vtmask.evaluation.metrics import chance

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", type=absolute, required=True, help="has demo/default")
    parser.add_argument("--out", type=absolute, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()

    found: dict[str, list[dict]] = {"from-scratch": [], "pre-trained": []}
    for seed in range(options.seeds):
        folder = options.out / f"seed-{seed}"
        overrides = [f"--config.data.dir={options.data_dir}", f"--config.seed={seed}"]
        train("configs/demo.py", folder / "pretrain", overrides)
        for name, runs in found.items():
            start = folder / "pretrain/export" if name == "pre-trained" else ""
            init = f"--config.init_from={start}"
            train("configs/demo_retrieval.py", folder / name, [*overrides, init])
            runs.append(evaluate(folder / name, overrides))

    videos = found["from-scratch"][0]["videos"]
    for direction in found["from-scratch"][0]["metrics"]:
        rows = {"chance": chance(videos)}
        for name, runs in found.items():
            metrics = [run["metrics"][direction] for run in runs]
            rows |= {f"{name}, seed {seed}": values for seed, values in enumerate(metrics)}
            rows[f"{name}, median"] = {
                metric: statistics.median(values[metric] for values in metrics)
                for metric in metrics[0]
            }
        print(f"\n{direction}, {videos} test videos\n{table(rows)}")


def absolute(path: str) -> Path:
    return Path(path).absolute()


def train(recipe: str, workdir: Path, overrides: list[str]) -> None:
    run("train.py", f"--config={recipe}", f"--workdir={workdir}", *overrides)


def evaluate(workdir: Path, overrides: list[str]) -> dict:
    recipe, model, out = "configs/demo_retrieval.py", workdir / "export", workdir / "test"
    overrides = [*overrides, "--config.eval.split=test"]
    run("evaluate.py", f"--config={recipe}", f"--model={model}", f"--out={out}", *overrides)
    return json.loads((out / "metrics.json").read_text())


def run(*command: str) -> None:
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
