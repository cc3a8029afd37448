"""Starts a program several times on this machine, as processes of one training run."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtmask.training.curves import read_metrics

ROOT = Path(__file__).parents[2]

Command = Sequence[str | Path]


def start(workdir: Path, count: int, devices: int, **fields: Any) -> list[subprocess.Popen[str]]:
    """Starts `processes.py` with `start_program`."""
    return start_program([training(workdir, **fields)] * count, devices)


def training(workdir: Path | str, **fields: Any) -> Command:
    """Returns the command of one process."""
    return [Path(__file__).with_name("processes.py"), workdir, json.dumps(fields)]


def start_program(commands: Sequence[Command], devices: int) -> list[subprocess.Popen[str]]:
    """Starts a Python program as several processes, each with `devices` simulated devices."""
    count = len(commands)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} "
        f"--xla_force_host_platform_device_count={devices} "
        "--xla_backend_optimization_level=0",  # compiles sooner
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
    }
    if count > 1:
        environment |= {
            "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
            "JAX_NUM_PROCESSES": f"{count}",
        }
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env=environment | ({"JAX_PROCESS_ID": f"{i}"} if count > 1 else {}),
            stderr=subprocess.PIPE,
            text=True,
        )
        for i, command in enumerate(commands)
    ]


def ends(processes: list[subprocess.Popen[str]], seconds: float = 600) -> list[tuple[int, str]]:
    """Waits; returns the exit status and stderr of each process."""
    try:
        errors = [process.communicate(timeout=seconds)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, errors, strict=True)]


def run(workdir: Path, count: int, devices: int, **fields: Any) -> list[float]:
    """Runs training in several processes; returns its losses."""
    return finish(start(workdir, count, devices, **fields), workdir)


def finish(processes: list[subprocess.Popen[str]], workdir: Path) -> list[float]:
    """Waits for a run that must succeed; returns its losses."""
    for status, message in ends(processes):
        assert status == 0, message
    return losses(workdir)


def losses(workdir: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(workdir / "metrics.jsonl")]


def params(workdir: Path) -> list[np.ndarray]:
    with np.load(workdir / "params.npz") as archive:
        return [archive[name] for name in archive.files]
