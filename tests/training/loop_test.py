"""Training resumes with the same bits, agrees across devices, and stops with one clear line."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
import synthetic
from etils import epath
from ml_collections import ConfigDict

from vtmask import tasks
from vtmask.errors import UserError
from vtmask.models import VLM
from vtmask.training import train
from vtmask.training.curves import read_metrics
from vtmask.training.workdir import claim_workdir

ROOT = Path(__file__).parents[2]


RETRIEVAL = ConfigDict({"name": "retrieval", "isolated_layers": 2, "direction": "t2v"})
APART = ConfigDict({"name": "retrieval", "isolated_layers": None, "direction": "both"})
PRETRAIN = synthetic.config().task
# On one device, the first budget holds every other batch. On eight, only the second holds any.
PRETRAIN.budgets = ((0.75, 0.157, 1), (0.95, 0.4, 1))
TASKS = {"pretrain": PRETRAIN, "retrieval": RETRIEVAL, "apart": APART}


def run(workdir: Any, batches: Any = None, **overrides: Any) -> Any:
    """Trains on retrieval, which compiles faster than pre-training."""
    config = synthetic.config()
    config.task = RETRIEVAL
    validation = overrides.pop("validation", None)
    for name, value in overrides.items():
        config[name] = value
    model = VLM(synthetic.CONFIG)
    task = tasks.create(config.task)
    params = jax.tree.map(np.array, synthetic.params(synthetic.CONFIG))
    batches = batches or synthetic.SyntheticBatches()
    return train(config, workdir, model, task, batches, params, validation)


class Killed(Exception):
    pass


class SignalAt(synthetic.SyntheticBatches):
    """Batches that raise a signal while preparing step 5, as step 3 is running."""

    signal = signal.SIGTERM

    def batch(self, step: int) -> dict[str, np.ndarray]:
        if step == 5:
            os.kill(os.getpid(), self.signal)
        return super().batch(step)


class KilledAt(synthetic.SyntheticBatches):
    """Batches that raise an error before step 5, as if the process were killed."""

    def batch(self, step: int) -> dict[str, np.ndarray]:
        if step == 5:
            raise Killed
        return super().batch(step)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Returns the workdir of a run of pre-training, and its parameters."""
    workdir = tmp_path_factory.mktemp("pretrained")
    return workdir, run(workdir, task=TASKS["pretrain"])


def test_a_resumed_run_ends_with_the_same_bits(
    pretrained: tuple[Path, Any], tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run(tmp_path, KilledAt(), task=TASKS["pretrain"])
    resumed = run(tmp_path, task=TASKS["pretrain"])
    workdir, uninterrupted = pretrained
    jax.tree.map(np.testing.assert_array_equal, uninterrupted, resumed)
    curves = [read_metrics(folder / "metrics.jsonl") for folder in (workdir, tmp_path)]
    assert [line["step"] for line in curves[1]] == [1, 2, 3, 4, 5, 6]
    assert [line["loss"] for line in curves[0]] == [line["loss"] for line in curves[1]]


def test_each_batch_has_the_program_that_holds_its_masks(
    pretrained: tuple[Path, Any], tmp_path: Path
) -> None:
    """The budget holds 40 masked positions; batches have 48, 40, 37, 42, 40 and 43."""
    padded = PRETRAIN.copy_and_resolve_references()
    padded.budgets = ()
    run(tmp_path, task=padded)
    workdir, _ = pretrained
    lines = read_metrics(workdir / "metrics.jsonl")
    assert [line["budget"] for line in lines] == [1, 0, 0, 1, 0, 1]
    losses = [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    np.testing.assert_allclose([line["loss"] for line in lines], losses, rtol=1e-5)


NORMS: list[float] = []


def distance(params: Any) -> dict[str, float]:
    """Validates by the norm of the parameters, and by a figure that is best in mid-run."""
    norm = float(np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(params))))
    NORMS.append(norm)
    return {"norm": norm, "middle": -abs(len(NORMS) - 2)}


def test_validation_changes_no_bit_and_is_in_the_curves(tmp_path: Path) -> None:
    NORMS.clear()
    plain = run(tmp_path / "plain")
    validated = run(tmp_path / "validated", eval_every=4, validation=distance)
    jax.tree.map(np.testing.assert_array_equal, plain, validated)
    lines = read_metrics(tmp_path / "validated/metrics.jsonl")
    figures = {line["step"]: line["validation/norm"] for line in lines if "validation/norm" in line}
    assert figures == {4: NORMS[0], 6: NORMS[1]}  # and at the end
    assert figures[6] == pytest.approx(float(optax.tree.norm(validated)), rel=1e-6)
    assert sorted(line["step"] for line in lines if "loss" in line) == [1, 2, 3, 4, 5, 6]


def test_a_run_killed_during_validation_ends_with_the_same_bits(tmp_path: Path) -> None:
    def killed(params: Any) -> dict[str, float]:
        raise Killed

    NORMS.clear()
    uninterrupted = run(tmp_path / "whole", eval_every=4, validation=distance)
    with pytest.raises(Killed):
        run(tmp_path / "killed", eval_every=4, validation=killed)
    resumed = run(tmp_path / "killed", eval_every=4, validation=distance)
    jax.tree.map(np.testing.assert_array_equal, uninterrupted, resumed)


def test_the_best_checkpoint_is_kept_and_returned(tmp_path: Path) -> None:
    NORMS.clear()
    checkpoint = ConfigDict({"every": 6, "keep": 1, "best": "validation/middle"})
    best = run(tmp_path, eval_every=2, validation=distance, checkpoint=checkpoint)
    assert float(optax.tree.norm(best)) == pytest.approx(NORMS[1], rel=1e-6)
    assert len(NORMS) == 3
    kept = [path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()]
    assert sorted(kept) == ["4", "6"]


def test_a_figure_that_is_not_measured_cannot_choose_the_best(tmp_path: Path) -> None:
    NORMS.clear()
    checkpoint = ConfigDict({"every": 6, "keep": 1, "best": "validation/R@1"})
    with pytest.raises(UserError, match="best is 'validation/R@1', expected one of validation/nor"):
        run(tmp_path, eval_every=2, validation=distance, checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("number", "log_every", "logged"),
    [(signal.SIGTERM, 5, [4, 5, 6]), (signal.SIGINT, 1, [1, 2, 3, 4, 5, 6])],
)
def test_a_signal_saves_the_current_step(
    tmp_path: Path,
    number: signal.Signals,
    log_every: int,
    logged: list[int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every_five = ConfigDict({"every": 5, "keep": 2})
    uninterrupted = run(tmp_path / "whole", checkpoint=every_five, log_every=log_every)
    monkeypatch.setattr(SignalAt, "signal", number)
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "stopped", SignalAt(), checkpoint=every_five, log_every=log_every)
    assert ended.value.code == 75
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"{tmp_path}/stopped: stopped by a signal; step 4 is saved; run the same command to resume"
    )
    assert [p.name for p in (tmp_path / "stopped" / "checkpoints").iterdir()] == ["4"]
    resumed = run(tmp_path / "stopped", checkpoint=every_five, log_every=log_every)
    jax.tree.map(np.testing.assert_array_equal, uninterrupted, resumed)
    curve = read_metrics(tmp_path / "stopped" / "metrics.jsonl")
    assert [line["step"] for line in curve] == logged


def test_the_bar_of_a_short_run_shows_the_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, log_every=50, num_steps=4, checkpoint=ConfigDict({"every": 50, "keep": 1}))
    bars = capsys.readouterr().err.split("\r")
    assert any("compiling" in bar for bar in bars)
    assert "compiling" not in bars[-1] and "loss=" in bars[-1]


def run_tasks(folder: Path) -> None:
    """Trains on each of `TASKS`, in a workdir with its name in `folder`."""
    for name, task in TASKS.items():
        run(folder / name, task=task)


@pytest.fixture(scope="module")
def on_eight_devices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of `run_tasks` in a process with eight devices."""
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


def test_a_nan_is_reported_with_step_and_videos_and_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at step 4, on videos video_4_0, video_4_1"):
        run(tmp_path, synthetic.SyntheticBatches(nan_step=4))
    saved = [int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
    assert max(saved) == 4


def test_a_workdir_with_another_config_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    before = (tmp_path / "config.json").read_text()
    changed = synthetic.config()
    changed.optim.lr = 5e-5
    problem = "config.json: .* optim.lr=0.0005, but the config has 5e-05"
    with pytest.raises(UserError, match=problem):
        run(tmp_path, optim=changed.optim)
    assert (tmp_path / "config.json").read_text() == before
    run(tmp_path, log_every=3)  # has no effect on parameters


def test_a_workdir_from_before_a_field_was_added_resumes(tmp_path: Path) -> None:
    config = synthetic.config()
    before = json.loads(config.to_json())
    del before["optim"]["factors"]
    (tmp_path / "config.json").write_text(json.dumps(before))
    (tmp_path / "checkpoints" / "1.damaged").mkdir(parents=True)  # of a step that was saved
    claim_workdir(epath.Path(tmp_path), json.loads(config.to_json()))
    config.optim.factors = (("mlp_in", 2.0),)
    with pytest.raises(UserError, match=r"optim.factors=\[\], but the config has \[\['mlp_in', 2"):
        claim_workdir(epath.Path(tmp_path), json.loads(config.to_json()))


def test_a_workdir_with_other_features_is_refused(tmp_path: Path) -> None:
    class OtherFeatures(synthetic.SyntheticBatches):
        inputs = {"feature_extractor": "other"}

    run(tmp_path, num_steps=2)
    problem = "inputs.feature_extractor='made-up', but the config has 'other'"
    with pytest.raises(UserError, match=problem):
        run(tmp_path, OtherFeatures(), num_steps=2)


def test_a_workdir_without_a_checkpoint_takes_another_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is nan at step 1"):
        run(tmp_path, synthetic.SyntheticBatches(nan_step=1))
    (tmp_path / "clusters").mkdir()  # from the other config
    run(tmp_path, num_steps=2)
    assert json.loads((tmp_path / "config.json").read_text())["num_steps"] == 2
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
    assert not (tmp_path / "clusters").exists()


def test_a_damaged_config_is_reported(tmp_path: Path) -> None:
    run(tmp_path, num_steps=2)
    (tmp_path / "config.json").write_text("")
    with pytest.raises(UserError, match="config.json: is damaged"):
        run(tmp_path)


def test_a_full_disk_is_reported_before_writing(tmp_path: Path, monkeypatch: Any) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**16))
    with pytest.raises(UserError, match=r"takes .* MiB, 0.1 MiB are free.*; no earlier step"):
        run(tmp_path)
