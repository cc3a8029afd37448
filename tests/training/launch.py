"""Starts `processes.py` several times on this machine."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vtmask.training.metrics import read_metrics

ROOT = Path(__file__).parents[2]


def start(workdir: Path, count: int, devices: int, **fields: Any) -> list[subprocess.Popen[str]]:
    """`count` processes of `devices` simulated devices each that train together."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} "
        "--xla_backend_optimization_level=0",  # compiles sooner
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
    }
    if count > 1:
        environment |= {
            "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
            "JAX_NUM_PROCESSES": f"{count}",
        }
    program = Path(__file__).with_name("processes.py")
    return [
        subprocess.Popen(
            [sys.executable, program, workdir, json.dumps(fields)],
            env=environment | ({"JAX_PROCESS_ID": f"{i}"} if count > 1 else {}),
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]


def ends(processes: list[subprocess.Popen[str]], seconds: float = 600) -> list[tuple[int, str]]:
    """Exit status of each and what it said on stderr."""
    try:
        said = [process.communicate(timeout=seconds)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def run(workdir: Path, count: int, devices: int, **fields: Any) -> list[float]:
    """The losses of a run."""
    for status, said in ends(start(workdir, count, devices, **fields)):
        assert status == 0, said
    return losses(workdir)


def losses(workdir: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(workdir / "metrics.jsonl")]


def params(workdir: Path) -> list[np.ndarray]:
    with np.load(workdir / "params.npz") as found:
        return [found[name] for name in found.files]
