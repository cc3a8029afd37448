"""Two processes train as one, and end together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training import launch
from vtmask.errors import UserError
from vtmask.training import distributed


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("alone")
    launch.run(workdir, 1, 1, num_steps=4)
    return workdir


@pytest.mark.parametrize("fsdp", [False, True])
def test_two_processes_have_the_losses_of_one(alone: Path, tmp_path: Path, fsdp: bool) -> None:
    layout = {"sharding": {"model": 1, "fsdp": fsdp}}
    found = launch.run(tmp_path, 2, 2, num_steps=4, **layout)
    assert len(found) == 4
    np.testing.assert_allclose(found, launch.losses(alone), rtol=1e-5)
    for ours, theirs in zip(launch.params(tmp_path), launch.params(alone), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-4)


def test_an_error_ends_all(tmp_path: Path) -> None:
    ended = launch.ends(launch.start(tmp_path, 2, 2, num_steps=4, nan_step=1))
    assert all(status for status, _ in ended)
    assert any("is nan at step 1" in said for _, said in ended)
    for _, said in ended:
        assert said.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES is 'two', expected a whole number"),
        ({"JAX_COORDINATOR_ADDRESS": "localhost:1"}, "Set all of JAX_COORDINATOR_ADDRESS, JAX_NUM"),
        ({"JAX_PROCESS_ID": "0"}, "JAX_PROCESS_ID: coordinator_address should be defined"),
    ],
)
def test_a_part_of_the_settings(
    environment: Any, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where no computation was made before, which JAX refuses.
    monkeypatch.setattr("jax._src.xla_bridge.backends_are_initialized", lambda: False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=problem), distributed.start():
        pass
