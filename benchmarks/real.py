"""VLM and VideoCLIP on real features of 1,000 clips of MSR-VTT, from real weights.

    vtmask convert MINILM --out=bert
    python benchmarks/real.py --reference-dir=DIR --weights=bert --out=runs/real

DIR has msrvtt/MSRVTT_data.json, and msrvtt_mini/ with features and lists (benchmarks/real.md).
For each seed: pre-training, as in the paper and with parts of it left out, on the clips and
sentences that are trained on; then retrieval from scratch, from MiniLM and from the pre-trained
models; the same models on multiple-choice questions; and captioning. Every finished run adds a line
to OUT/figures.jsonl and is not run again. Prints medians, and figures and intervals of each seed.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from vtmask.evaluation.report import number

sys.path.insert(0, str(Path(__file__).parents[1]))  # where train.py, configs and benchmarks are

import evaluate
import train
from benchmarks import real_data, real_ridge, tasks
from benchmarks.tasks import PRETRAINING, SCRATCH
from configs import msrvtt, msrvtt_captioning, msrvtt_qa, videoclip, vlm

STEPS = {"pretraining": 150, "VideoCLIP": 50, "retrieval": 72, "captioning": 40}
BATCH_SIZE = 64
LEARNING_RATE = 3e-4
TEXT_LENGTH = 15  # with [SEP]; 90 % of the sentences are shorter

MINILM = "from MiniLM"
TWO_RATES = "from MiniLM, two rates, twice as long"
ZERO_SHOT, VIDEOCLIP = "VideoCLIP, zero-shot", "VideoCLIP, fine-tuned"
FINE_TUNED = (MINILM, "pre-trained", VIDEOCLIP, "without MMM", "MFM+MLM", SCRATCH, TWO_RATES)
RETRIEVAL = (SCRATCH, MINILM, TWO_RATES, *PRETRAINING, ZERO_SHOT, VIDEOCLIP)
CAPTIONING = (MINILM, "pre-trained")
# Rows and figures of each table.
TABLES = {
    "retrieval": (
        RETRIEVAL,
        [
            (direction, column)
            for direction in ("text to video", "video to text")
            for column in ("R@1", "R@5", "R@10", "MedR")
        ],
    ),
    "questions": (RETRIEVAL, [("questions", "accuracy")]),
    "captioning": (
        CAPTIONING,
        [("captions", column) for column in ("BLEU-4", "ROUGE-L", "METEOR", "CIDEr")],
    ),
}


def main() -> None:
    options = parse()
    jax.config.update("jax_compilation_cache_dir", str(options.out / "jax_cache"))
    clips = real_data.read(options.reference_dir)
    real_data.build(clips, options.weights, options.out / "data")
    runs = Runs(options.out, str(options.weights))
    runs.once("retrieval", "ridge", 0, partial(real_ridge.figures, clips, options.weights))
    for name in FINE_TUNED:
        for seed in range(options.seeds):
            runs.retrieval(name, seed)
    for name in CAPTIONING:
        for seed in range(options.seeds):
            runs.captioning(name, seed)
    for table in TABLES:
        print_table(table, runs.lines())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference-dir", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="export of MiniLM")
    parser.add_argument("--out", type=Path, required=True, help="folder of data and runs")
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args()


class Runs:
    """Trains and evaluates models, each once, in a folder."""

    def __init__(self, out: Path, weights: str):
        self._out, self._weights = out.resolve(), weights

    def retrieval(self, name: str, seed: int) -> None:
        """Fine-tunes for retrieval; evaluates retrieval and multiple-choice questions."""
        videoclip_arm = name == VIDEOCLIP
        workdir = self._out / f"seed-{seed}" / name
        if videoclip_arm:
            start = self.pretrained(VIDEOCLIP, seed)
            self._evaluate(ZERO_SHOT, seed, start, videoclip_arm)
        else:
            start = self._start(name, seed)
        config = self._config(msrvtt.get_config(), "validation", seed, videoclip_arm)
        config.init_from, config.num_steps = start, STEPS["retrieval"]
        config.task.isolated_layers = None
        config.task.direction = "both"
        config.eval_every, config.eval_split = 24, "test"
        config.checkpoint.best = "validation/text_to_video/R@1"
        if name == SCRATCH:
            config.model.initializer_range = 0.05
        if name == TWO_RATES:
            config.optim.lr, config.optim.factors = 1e-4, (("video_mlp", 20.0),)
            config.num_steps *= 2
        self._train(config, workdir / "retrieval")
        self._evaluate(name, seed, str(workdir / "retrieval/export"), videoclip_arm)

    def captioning(self, name: str, seed: int) -> None:
        config = self._config(msrvtt_captioning.get_config(), "captions", seed)
        config.init_from, config.num_steps = self._start(name, seed), STEPS["captioning"]
        config.task.max_decode_length = TEXT_LENGTH + 3
        workdir = self._out / f"seed-{seed}" / name / "captioning"
        self._train(config, workdir)
        config.eval.batch_size = 101
        self.once("captioning", name, seed, partial(self._figures, config, workdir / "export"))

    def pretrained(self, name: str, seed: int) -> str:
        """Pre-trains on clips and their sentences; returns the export's folder."""
        if name == VIDEOCLIP:
            config = self._config(videoclip.get_config(), "validation", seed, videoclip_arm=True)
            config.retrieval_augmented.enabled = False
            config.num_steps = STEPS["VideoCLIP"]
        else:
            config = self._config(vlm.get_config(), "validation", seed)
            config.task.update(PRETRAINING[name])
            config.task.budgets = ((0.95, 0.4, 1.0),)
            # At a higher rate, BERT forgets which sentences are alike.
            config.optim.lr, config.optim.factors = 2e-5, (("video_mlp", 50.0), ("head", 50.0))
            config.num_steps = STEPS["pretraining"]
        # A sentence describes a clip from its start to its end, so all of both are taken.
        config.sampler = ConfigDict({"name": "descriptions"})
        config.init_from = self._weights
        workdir = self._out / f"seed-{seed}" / name / "pretraining"
        self._train(config, workdir)
        return str(workdir / "export")

    def once(self, table: str, name: str, seed: int, run: Callable[[], dict[str, Any]]) -> None:
        """Adds a run's figures to figures.jsonl unless they are there."""
        key = {"table": table, "name": name, "seed": seed}
        if any(key.items() <= line.items() for line in self.lines()):
            return
        line = key | run()
        with (self._out / "figures.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        path = self._out / "figures.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _start(self, name: str, seed: int) -> str:
        if name == SCRATCH:
            return ""
        return self.pretrained(name, seed) if name in PRETRAINING else self._weights

    def _config(
        self, config: ConfigDict, dataset: str, seed: int, videoclip_arm: bool = False
    ) -> ConfigDict:
        """Sets sizes and the optimizer of a recipe, for a small data set and a CPU."""
        config.data.name, config.data.dir = f"msrvtt/{dataset}", str(self._out / "data")
        config.seed, config.batch_size = seed, BATCH_SIZE
        config.model.update(
            hidden_size=384, num_layers=6, num_heads=12, mlp_size=1536, dropout_rate=0.0
        )
        config.model.max_video_len = real_data.ROWS
        config.model.max_len = real_data.ROWS + 2 + TEXT_LENGTH
        if videoclip_arm:
            config.model.name, config.model.num_video_layers = "videoclip", 3
        config.optim.lr, config.optim.warmup_steps, config.optim.power = LEARNING_RATE, 10, 1.0
        config.log_every = 10
        config.checkpoint.every = 1000
        return config

    def _train(self, config: ConfigDict, workdir: Path) -> None:
        if (workdir / "export").exists():
            return
        print(f"\n{workdir}", flush=True)
        since = time.process_time()
        train.main(config, workdir)
        shutil.rmtree(workdir / "checkpoints")  # 300 MB each
        print(f"{time.process_time() - since:.0f} s of CPU", flush=True)

    def _evaluate(self, name: str, seed: int, model: str, videoclip_arm: bool) -> None:
        for table, recipe in (("retrieval", msrvtt), ("questions", msrvtt_qa)):
            config = self._config(recipe.get_config(), table, seed, videoclip_arm)
            config.task.isolated_layers = None
            config.eval.batch_size = 101
            if table == "retrieval":
                config.task.direction = "both"
            self.once(table, name, seed, partial(self._figures, config, Path(model)))

    def _figures(self, config: ConfigDict, model: Path) -> dict[str, Any]:
        folder = model.parent / config.data.name
        evaluate.main(config, str(model), folder)
        evaluation = json.loads((folder / "metrics.json").read_text())
        return {key: evaluation[key] for key in ("metrics", "intervals", "baselines")}


def print_table(table: str, lines: list[dict[str, Any]]) -> None:
    """Medians over seeds with every seed's figure, and then every seed's interval."""
    names, figures = TABLES[table]
    print(f"\n{table}\n\n| | " + " | ".join(f"{row}: {column}" for row, column in figures) + " |")
    print("|---|" + "---:|" * len(figures))
    of_name = {
        name: [line for line in lines if (line["table"], line["name"]) == (table, name)]
        for name in ("ridge", *names)
    }
    for cell in (tasks.median, intervals_of):
        for name, runs in of_name.items():
            if runs:
                cells = [cell(runs, row, column) for row, column in figures]
                print(f"| {name} | " + " | ".join(cells) + " |")


def intervals_of(runs: list[dict[str, Any]], row: str, column: str) -> str:
    """The 95 % bootstrap interval of every seed; METEOR has none."""
    bounds = [run["intervals"][row].get(column) for run in runs]
    return ", ".join(f"{number(column, i[0])} to {number(column, i[1])}" for i in bounds if i)


if __name__ == "__main__":
    main()
