"""Any number of processes has the same losses, and resumes a run of any other number."""

import time
from pathlib import Path

import numpy as np
import pytest
from training import launch

STEPS, SLOWLY = 40, 0.2


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return launch.run(tmp_path_factory.mktemp("alone"), 1, 1, num_steps=STEPS)


@pytest.mark.parametrize(("model", "fsdp"), [(1, False), (1, True), (2, True)])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_one_two_and_four_processes_have_the_same_losses(
    alone: list[float], tmp_path: Path, count: int, model: int, fsdp: bool
) -> None:
    layout = {"sharding": {"model": model, "fsdp": fsdp}, "budgets": ((0.8, 0.25, 0.9),)}
    actual = launch.run(tmp_path, count, 4 // count, num_steps=STEPS, **layout)
    assert len(actual) == STEPS
    np.testing.assert_allclose(actual, alone, rtol=1e-5)


@pytest.mark.parametrize(("before", "killed", "after"), [(2, 0, 1), (2, 1, 4), (4, 2, 2)])
def test_if_a_process_is_killed_the_others_end_and_any_number_resumes(
    alone: list[float], tmp_path: Path, before: int, killed: int, after: int
) -> None:
    processes = launch.start(tmp_path, before, 1, num_steps=STEPS, seconds=SLOWLY)
    while not (tmp_path / "checkpoints" / "10").exists():
        assert processes[0].poll() is None, launch.ends(processes)
        time.sleep(0.1)
    processes[killed].kill()
    begun = time.monotonic()
    others = processes[:killed] + processes[killed + 1 :]
    for status, message in launch.ends(others, seconds=60):
        assert status
        last = message.strip().splitlines()[-1]
        assert last.startswith("error: this process") and "Run the same command again" in last
    print(f"{before} processes, {killed} killed: all ended after {time.monotonic() - begun:.1f} s")
    processes[killed].communicate()

    saved = max(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
    assert 10 <= saved < STEPS
    launch.run(tmp_path, after, 1, num_steps=STEPS, sharding={"model": 1, "fsdp": True})
    actual = launch.losses(tmp_path)
    assert len(actual) == STEPS
    np.testing.assert_allclose(actual, alone, rtol=1e-5)


def test_processes_with_different_settings_are_refused(tmp_path: Path) -> None:
    commands = [launch.training(tmp_path, num_steps=STEPS, batch_size=n) for n in (16, 32)]
    ended = launch.ends(launch.start_program(commands, 1))
    assert all(status for status, _ in ended)
    assert "trained with batch_size=16, but the config has 32" in ended[1][1].splitlines()[-1]
