"""A signal to one of several processes ends all of them at one step, where the run resumes."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from training import launch

STEPS, SLOWLY = 40, 0.2


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("whole")
    launch.run(workdir, 2, 1, num_steps=STEPS)
    return workdir


@pytest.mark.parametrize(("process", "number"), [(0, signal.SIGTERM), (1, signal.SIGINT)])
def test_a_signal_to_one_of_two_processes_stops_both(
    uninterrupted: Path, tmp_path: Path, process: int, number: signal.Signals
) -> None:
    every = {"every": 1000, "keep": 2}
    processes = launch.start(tmp_path, 2, 1, num_steps=STEPS, seconds=SLOWLY, checkpoint=every)
    while not (tmp_path / "metrics.jsonl").exists() or len(launch.losses(tmp_path)) < 5:
        assert processes[0].poll() is None, launch.ends(processes)
        time.sleep(0.1)
    processes[process].send_signal(number)
    begun = time.monotonic()
    ended = launch.ends(processes, seconds=30)
    print(f"{number.name} to process {process}: all ended after {time.monotonic() - begun:.1f} s")
    assert [status for status, _ in ended] == [75, 75]
    (saved,) = [int(path.name) for path in (tmp_path / "checkpoints").iterdir()]
    assert 5 <= saved < STEPS
    last = ended[0][1].strip().splitlines()[-1]
    assert last.endswith(
        f"stopped by a signal; step {saved} is saved; run the same command to resume"
    )
    launch.run(tmp_path, 2, 1, num_steps=STEPS)
    for ours, theirs in zip(launch.params(tmp_path), launch.params(uninterrupted), strict=True):
        np.testing.assert_array_equal(ours, theirs)
