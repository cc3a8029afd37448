"""Does a run that is killed again and again end with the same bits as an undisturbed one?

    python benchmarks/kills.py --out=runs/kills --kills=100

Builds demo/tiny and trains a small model on it with train.py: once undisturbed, and once killed by
SIGKILL at random moments and restarted each time. Most kills come while it trains (and saves in the
background), some while it starts. Exits with status 1 if the final parameters differ.

Starting Python with all imports takes seconds. So one process imports everything and, before it
uses JAX or TensorFlow, forks those that train.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # train.py is there
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import numpy as np  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402
from tqdm import tqdm  # noqa: E402

import train  # noqa: E402
from configs import demo  # noqa: E402
from vtmask import export, program  # noqa: E402
from vtmask.training.curves import read_metrics  # noqa: E402

EVERY = 5  # steps to a checkpoint
WHILE_STARTING = 0.2  # of the kills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="Keeps data and programs.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    alone, killed = options.out / "alone", options.out / "killed"
    for run in (alone, killed, options.out / "probe"):
        shutil.rmtree(run, ignore_errors=True)
    options.out.mkdir(parents=True, exist_ok=True)
    # Otherwise every start would compile again.
    jax.config.update("jax_compilation_cache_dir", str(options.out / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    # tqdm's default lock is shared by all processes, and stays locked if its holder is killed.
    tqdm.set_lock(threading.RLock())
    tqdm.monitor_interval = 0
    data = options.out / "data"
    build = ["-m", "data.build", "demo", "--config=tiny", f"--data_dir={data}"]
    subprocess.run([sys.executable, *build], check=True, cwd=ROOT)
    # More steps than the killed runs make on average, so that a run is left to kill.
    config = recipe(data, num_steps=max(3 * options.kills // 2, 2) * EVERY)

    first_step = time_of_first_step(config, alone)
    lives = disturb(config, killed, options.kills, random.Random(options.seed), first_step)
    same = all(
        np.array_equal(a, b)
        for a, b in zip(*(jax.tree.leaves(parameters(run)) for run in (alone, killed)), strict=True)
    )
    begun = [life for life in lives if life.step > life.start]
    print(f"""
| | |
|---|---:|
| steps | {config.num_steps:,}, a checkpoint every {EVERY} |
| kills | {len(lives)} |
| … while starting | {len(lives) - len(begun)} |
| … while training, at steps | {describe([life.step for life in begun])} |
| … of these, while writing a checkpoint | {sum(life.saving for life in begun)} |
| restarts from the same checkpoint as the run before | {sum(life.idle for life in lives)} |
| steps repeated | {sum(life.lost for life in lives):,} |
| final parameters | {"the same bits" if same else "DIFFER"} |""")
    sys.exit(not same)


class Life:
    """One start of the training and how it was killed.

    Attributes:
      start, step: where it began, and the last step of its curves.
      saving: whether a checkpoint was being written.
      idle: whether it left no newer checkpoint.
      lost: steps that the next life repeats.
    """

    def __init__(self, workdir: Path, start: int):
        reached = newest(workdir)
        self.start, self.step = start, max(start, last_step(workdir))
        self.saving = any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp"))
        self.idle = reached == start
        self.lost = max(self.step - reached, 0)


def recipe(data: Path, num_steps: int) -> ConfigDict:
    config = demo.get_config()
    config.data.name, config.data.dir = "demo/tiny", str(data)
    config.batch_size, config.num_steps, config.log_every = 16, num_steps, 1
    config.checkpoint = ConfigDict({"every": EVERY, "keep": 2})
    model_config = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "mlp_size": 64}
    config.task.budgets = ()  # less to compile
    config.model.update(model_config | {"dropout_rate": 0.1})
    return config


def fork(config: ConfigDict, workdir: Path) -> int:
    """Starts a training; returns its process id."""
    child = os.fork()
    if child:
        return child
    log = os.open(f"{workdir}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        with program.one_line_errors():
            train.main(config, workdir)
        status = 0
    except SystemExit as error:
        print(error, file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def time_of_first_step(config: ConfigDict, workdir: Path) -> float:
    """Trains undisturbed; seconds from the start to the first step, with programs compiled."""
    require_success(os.waitpid(fork(config, workdir), 0)[1], workdir)
    probe = workdir.with_name("probe")
    child, begun = fork(config, probe), time.monotonic()
    wait_until(lambda: last_step(probe) > 0, child)
    kill(child, probe)
    return time.monotonic() - begun


def disturb(
    config: ConfigDict, workdir: Path, kills: int, rng: random.Random, first_step: float
) -> list[Life]:
    """Trains with this many kills, then to the end."""
    lives: list[Life] = []
    for _ in tqdm(range(kills), "kills"):
        start = newest(workdir)
        drop_lines_after(workdir, start)
        child = fork(config, workdir)
        if rng.random() < WHILE_STARTING:
            time.sleep(rng.uniform(0, first_step))
        else:
            goal = start + rng.choice((0, 1, 1, 2)) * EVERY
            wait_until(lambda start=start: last_step(workdir) > start, child)  # type: ignore[misc]
            wait_until(lambda goal=goal: newest(workdir) >= goal, child)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 0.3))
        if not kill(child, workdir):
            break
        lives.append(Life(workdir, start))
    require_success(os.waitpid(fork(config, workdir), 0)[1], workdir)
    return lives


def wait_until(done: Callable[[], bool], child: int) -> None:
    """Waits until `done`, or until the child has ended."""
    while not done() and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.005)


def kill(child: int, workdir: Path) -> bool:
    """Kills the child; returns whether it was still alive. It may have finished, but not failed."""
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        require_success(status, workdir)
    return os.WIFSIGNALED(status)


def require_success(status: int, workdir: Path) -> None:
    if status:
        sys.exit(f"error: {workdir}: training failed; {workdir}.log tells why")


def newest(workdir: Path) -> int:
    """Returns the step of the newest checkpoint, 0 if there is none."""
    return max((int(p.name) for p in workdir.glob("checkpoints/*") if p.name.isdigit()), default=0)


def last_step(workdir: Path) -> int:
    path = workdir / "metrics.jsonl"
    lines = read_metrics(path) if path.exists() else []
    return int(lines[-1]["step"]) if lines else 0


def drop_lines_after(workdir: Path, step: int) -> None:
    """Drops the curves of steps that are repeated, to distinguish those of the next life."""
    path = workdir / "metrics.jsonl"
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:step]))


def parameters(workdir: Path) -> object:
    return export.load(workdir / "export").params


def describe(steps: list[int]) -> str:
    if not steps:
        return "none"
    low, middle, high = np.percentile(steps, [0, 50, 100], method="nearest")
    return f"{len(steps)}: {low} to {high}, median {middle}"


if __name__ == "__main__":
    main()
