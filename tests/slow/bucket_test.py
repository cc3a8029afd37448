"""Two processes train in a bucket as on disk."""

import io
from pathlib import Path

import emulator
import numpy as np
import pytest
from etils import epath
from training import launch

from vtmask import disk
from vtmask.training.curves import read_metrics


def test_two_processes_train_in_a_bucket_as_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = launch.run(tmp_path, 2, 1, num_steps=6)
    with emulator.start("bucket") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        workdir = disk.resolve("gs://bucket/run")
        command = launch.training(str(workdir), num_steps=6)
        for _ in range(2):  # the second time they restore the last checkpoint
            for status, message in launch.ends(launch.start_program([command] * 2, 1)):
                assert status == 0, message
            actual = [line["loss"] for line in read_metrics(workdir / "metrics.jsonl")]
            np.testing.assert_array_equal(actual, losses)
            with np.load(io.BytesIO((workdir / "params.npz").read_bytes())) as params:
                for name, ours in zip(params.files, launch.params(tmp_path), strict=True):
                    np.testing.assert_array_equal(params[name], ours)
        assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["4", "6"]
        assert not epath.Path("gs:").exists()
