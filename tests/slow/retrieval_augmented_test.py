"""VideoCLIP with retrieval-augmented batches trains identically on any number of processes."""

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from training import launch

EPOCHS, BATCHES = 10, 6  # an epoch has 24 videos, 4 per batch


def start(data: Path, workdir: Path, count: int, devices: int) -> list[subprocess.Popen[str]]:
    command = [
        launch.ROOT / "train.py",
        f"--config={launch.ROOT / 'configs/demo_videoclip.py'}",
        f"--workdir={workdir}",
        f"--config.data.dir={data}",
        "--config.data.name=demo/tiny",
        "--config.batch_size=16",
        f"--config.num_steps={EPOCHS * BATCHES}",
        "--config.log_every=1",
        "--config.checkpoint.every=4",
    ]
    return launch.start_program([command] * count, devices)


def run(data: Path, workdir: Path, count: int, devices: int) -> list[float]:
    return launch.finish(start(data, workdir, count, devices), workdir)


def clusters(workdir: Path) -> list[np.ndarray]:
    return [np.load(path) for path in sorted((workdir / "clusters").iterdir())]


@pytest.fixture(scope="module")
def alone(demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    workdir = tmp_path_factory.mktemp("alone")
    return workdir, run(demo_dir, workdir, 1, 1)


def require_same(workdir: Path, actual: list[float], alone: tuple[Path, list[float]]) -> None:
    np.testing.assert_allclose(actual, alone[1], rtol=1e-4)
    assert len(clusters(workdir)) == EPOCHS
    for ours, theirs in zip(clusters(workdir), clusters(alone[0]), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_draw_the_same_clusters_as_one(
    alone: tuple[Path, list[float]], demo_dir: Path, tmp_path: Path, count: int
) -> None:
    require_same(tmp_path, run(demo_dir, tmp_path, count, 4 // count), alone)


def test_another_number_of_processes_resumes_within_an_epoch(
    alone: tuple[Path, list[float]], demo_dir: Path, tmp_path: Path
) -> None:
    processes = start(demo_dir, tmp_path, 2, 1)
    while not (tmp_path / "checkpoints" / "8").exists():
        assert processes[0].poll() is None, launch.ends(processes)
        time.sleep(0.01)
    for process in processes:
        process.kill()
    launch.ends(processes)
    saved = max(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
    assert saved % BATCHES and saved < EPOCHS * BATCHES
    require_same(tmp_path, run(demo_dir, tmp_path, 1, 4), alone)
