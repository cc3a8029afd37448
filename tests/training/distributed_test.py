"""Two processes train as one does, and end together."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training import launch
from vtmask.errors import UserError
from vtmask.training import distributed
from vtmask.training.curves import read_metrics


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("alone")
    launch.run(workdir, 1, 1, num_steps=4)
    return workdir


def test_two_processes_have_the_losses_of_one(alone: Path, tmp_path: Path) -> None:
    """tests/slow/several_processes_test.py has other layouts and numbers of processes."""
    fields = {"sharding": {"model": 1, "fsdp": True}, "budgets": ((0.8, 0.25, 0.9),)}
    actual = launch.run(tmp_path, 2, 2, num_steps=4, **fields)
    assert [line["budget"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 1, 0, 0]
    np.testing.assert_allclose(actual, launch.losses(alone), rtol=1e-5)
    for ours, theirs in zip(launch.params(tmp_path), launch.params(alone), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-4)


def test_an_error_ends_all_processes(tmp_path: Path) -> None:
    # This layout's program is in the cache, as the test above uses it.
    layout = {"sharding": {"model": 1, "fsdp": True}}
    ended = launch.ends(launch.start(tmp_path, 2, 2, num_steps=4, nan_step=1, **layout))
    assert all(status for status, _ in ended)
    assert any("is nan at step 1" in message for _, message in ended)
    for _, message in ended:
        assert message.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES is 'two', expected a whole number"),
        ({"JAX_COORDINATOR_ADDRESS": "localhost:1"}, "set all of JAX_COORDINATOR_ADDRESS, JAX_NUM"),
        ({"JAX_PROCESS_ID": "0"}, "JAX_COORDINATOR_ADDRESS and JAX_NUM_PROCESSES: not set"),
        ({"JAX_COORDINATOR_ADDRESS": "host0"}, "ADDRESS is 'host0', expected HOST:PORT, such as"),
        (
            {
                "JAX_COORDINATOR_ADDRESS": "localhost:1",
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": "2",
            },
            "JAX_PROCESS_ID is 2, expected less than JAX_NUM_PROCESSES, which is 2",
        ),
    ],
)
def test_incomplete_settings_are_refused(
    environment: Any, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=problem), distributed.start():
        pass


def test_a_single_process_starts_no_other_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    with distributed.start():
        pass


def test_a_process_of_a_slurm_step_waits_for_the_others(tmp_path: Path) -> None:
    """It reports how many processes it waits for, and continues when the other starts."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    slurm = {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_LOCALID": "0",
        "JAX_COORDINATOR_PORT": str(port),
        "JAX_PLATFORMS": "cpu",
    }
    script = (
        "from vtmask.training import distributed; distributed._REPORT_AFTER = 0.5\n"
        "with distributed.start(): pass"
    )

    def start(process: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", script],
            env=os.environ | slurm | {"SLURM_PROCID": str(process)},
            cwd=launch.ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )

    first = start(0)
    assert first.stderr is not None
    message = next(line for line in first.stderr if line.startswith("process 0"))
    waits = f"process 0: waiting for 1 of 2 processes at localhost:{port}; start them with srun ("
    assert message.startswith(waits)
    for status, end in launch.ends([first, start(1)], seconds=60):
        assert status == 0, end
