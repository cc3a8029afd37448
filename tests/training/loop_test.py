"""Training resumes to the bit, agrees over devices, and stops with one clear line."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import synthetic

from vtmask import tasks
from vtmask.errors import UserError
from vtmask.models import VLM
from vtmask.training import initial_params, loop, train
from vtmask.training.metrics import read_metrics

ROOT = Path(__file__).parents[2]


def run(workdir: Path, batches: Any = None, **overrides: Any) -> Any:
    config = synthetic.config()
    config.update(overrides)
    model = VLM(synthetic.SIZES)
    task = tasks.create(config.task)
    params = initial_params(model, config.seed)
    return train(config, workdir, model, task, batches or synthetic.SyntheticBatches(), params)


class Killed(Exception):
    pass


class KilledAt(synthetic.SyntheticBatches):
    """Batches that end the process, as far as the loop can tell, before step 3."""

    def batch(self, step: int) -> dict[str, np.ndarray]:
        if step == 3:
            raise Killed
        return super().batch(step)


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "killed", KilledAt())
    resumed = run(tmp_path / "killed")
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
    curves = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "killed")]
    assert [line["step"] for line in curves[1]] == [1, 2, 3, 4, 5, 6]
    assert [line["loss"] for line in curves[0]] == [line["loss"] for line in curves[1]]


def test_one_and_eight_devices_have_the_same_losses(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from training import loop_test; "
    losses = []
    for devices in (1, 8):
        workdir = tmp_path / str(devices)
        subprocess.run(
            [sys.executable, "-c", script + f"loop_test.run(Path({str(workdir)!r}))"],
            check=True,
            cwd=ROOT,
            env=os.environ
            | {
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
                "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            },
        )
        losses.append([line["loss"] for line in read_metrics(workdir / "metrics.jsonl")])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_training_learns(tmp_path: Path) -> None:
    class SameBatch(synthetic.SyntheticBatches):
        def batch(self, step: int) -> dict[str, np.ndarray]:
            return super().batch(0)

    run(tmp_path, SameBatch(), num_steps=80)
    losses = [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert np.mean(losses[-5:]) < 0.9 * losses[0]


def test_a_nan_names_step_and_videos_and_saves_nothing_after(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at step 4, on videos video_4_0, video_4_1"):
        run(tmp_path, synthetic.SyntheticBatches(nan_step=4))
    saved = [int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
    assert max(saved) == 4


def test_a_workdir_of_another_config_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    before = (tmp_path / "config.json").read_text()
    changed = synthetic.config()
    changed.optim.lr = 5e-5
    with pytest.raises(
        UserError, match="config.json: .* optim.lr=0.002, the config now says 5e-05"
    ):
        run(tmp_path, optim=changed.optim)
    assert (tmp_path / "config.json").read_text() == before
    run(tmp_path, log_every=3)  # has no effect on parameters


def test_too_little_room_is_told_before_writing(tmp_path: Path, monkeypatch: Any) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**16))
    with pytest.raises(UserError, match=r"takes .* MiB, 0.1 MiB are free.*; none was written"):
        run(tmp_path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_keeps_the_checkpoints_before(tmp_path: Path) -> None:
    run(tmp_path, num_steps=2)
    config = json.loads((tmp_path / "config.json").read_text()) | {"num_steps": 6}
    (tmp_path / "config.json").write_text(json.dumps(config))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # writes fail as on a full disk
    try:
        with pytest.raises(UserError, match=r"checkpoint can't be written .*; step 2 is safe"):
            run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    run(tmp_path)
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["step"] == 6


def test_a_batch_that_does_not_divide_among_devices_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setattr(loop.sharding.jax, "device_count", lambda: 3)
    with pytest.raises(UserError, match="batch_size is 16, expected a multiple of 3 devices"):
        loop.sharding.make_mesh(16)
