"""Training resumes to the bit, agrees over devices, and stops with one clear line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import synthetic
from ml_collections import ConfigDict

from vtmask import tasks
from vtmask.errors import UserError
from vtmask.models import VLM
from vtmask.training import train
from vtmask.training.metrics import read_metrics

ROOT = Path(__file__).parents[2]


RETRIEVAL = ConfigDict({"name": "retrieval", "isolated_layers": 2, "direction": "t2v"})
APART = ConfigDict({"name": "retrieval", "isolated_layers": None, "direction": "both"})
PRETRAIN = synthetic.config().task
PRETRAIN.budgets = PRETRAIN.budgets[:1]  # which all batches of a run but one fit
TASKS = {"pretrain": PRETRAIN, "retrieval": RETRIEVAL, "apart": APART}


def run(workdir: Path, batches: Any = None, **overrides: Any) -> Any:
    """Trains on retrieval, which compiles sooner than pre-training."""
    config = synthetic.config()
    config.task = RETRIEVAL
    for name, value in overrides.items():
        config[name] = value
    model = VLM(synthetic.CONFIGS)
    task = tasks.create(config.task)
    params = jax.tree.map(np.array, synthetic.params(synthetic.CONFIGS))
    return train(config, workdir, model, task, batches or synthetic.SyntheticBatches(), params)


class Killed(Exception):
    pass


class KilledAt(synthetic.SyntheticBatches):
    """Batches that end the process, as far as the loop can tell, before step 5."""

    def batch(self, step: int) -> dict[str, np.ndarray]:
        if step == 5:
            raise Killed
        return super().batch(step)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Workdir of a run of pre-training, and its parameters."""
    workdir = tmp_path_factory.mktemp("pretrained")
    return workdir, run(workdir, task=TASKS["pretrain"])


def test_a_resumed_run_ends_with_the_same_bits(
    pretrained: tuple[Path, Any], tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run(tmp_path, KilledAt(), task=TASKS["pretrain"])
    resumed = run(tmp_path, task=TASKS["pretrain"])
    workdir, whole = pretrained
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
    curves = [read_metrics(folder / "metrics.jsonl") for folder in (workdir, tmp_path)]
    assert [line["step"] for line in curves[1]] == [1, 2, 3, 4, 5, 6]
    assert [line["loss"] for line in curves[0]] == [line["loss"] for line in curves[1]]


def run_tasks(folder: Path) -> None:
    """Trains on each of `TASKS`; its workdir in `folder` has its name."""
    for name, task in TASKS.items():
        run(folder / name, task=task)


@pytest.fixture(scope="module")
def on_eight_devices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of `run_tasks` in a process with eight devices."""
    folder = tmp_path_factory.mktemp("eight")
    script = (
        "import jax; from pathlib import Path; from training import loop_test; "
        f"assert jax.device_count() == 8; loop_test.run_tasks(Path({str(folder)!r}))"
    )
    environment = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
    }
    subprocess.run(
        [sys.executable, "-c", script], check=True, cwd=ROOT, env=os.environ | environment
    )
    return folder


@pytest.mark.parametrize("name", TASKS)
def test_one_and_eight_devices_have_the_same_losses(
    on_eight_devices: Path, pretrained: tuple[Path, Any], tmp_path: Path, name: str
) -> None:
    assert jax.device_count() == 1
    on_one, _ = pretrained
    if name != "pretrain":
        on_one = tmp_path
        run(on_one, task=TASKS[name])
    one, eight = (
        [line["loss"] for line in read_metrics(workdir / "metrics.jsonl")]
        for workdir in (on_one, on_eight_devices / name)
    )
    assert len(one) == 6
    np.testing.assert_allclose(one, eight, rtol=1e-5)


def test_training_learns(tmp_path: Path) -> None:
    class SameBatch(synthetic.SyntheticBatches):
        def batch(self, step: int) -> dict[str, np.ndarray]:
            return super().batch(0)

    run(tmp_path, SameBatch(), num_steps=60)
    losses = [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert losses[-1] < 0.5 * losses[0]


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
    with pytest.raises(UserError, match="config.json: .* optim.lr=0.0005, now it is 5e-05"):
        run(tmp_path, optim=changed.optim)
    assert (tmp_path / "config.json").read_text() == before
    run(tmp_path, log_every=3)  # has no effect on parameters


def test_a_workdir_of_other_features_is_refused(tmp_path: Path) -> None:
    class OtherFeatures(synthetic.SyntheticBatches):
        inputs = {"feature_extractor": "other"}

    run(tmp_path, num_steps=2)
    with pytest.raises(UserError, match="inputs.feature_extractor='made-up', now it is 'other'"):
        run(tmp_path, OtherFeatures(), num_steps=2)


def test_a_damaged_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    with pytest.raises(UserError, match="config.json: is damaged"):
        run(tmp_path)


def test_too_little_room_is_told_before_writing(tmp_path: Path, monkeypatch: Any) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**16))
    with pytest.raises(UserError, match=r"takes .* MiB, 0.1 MiB are free.*; none was written"):
        run(tmp_path)
