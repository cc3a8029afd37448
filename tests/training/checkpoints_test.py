"""A damaged checkpoint is detected, whichever file is damaged in whatever way."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from vtmask.errors import UserError
from vtmask.training import TrainState
from vtmask.training.checkpoints import Checkpoints, _wait_unless_failed


def state(step: int) -> TrainState:
    params = {"a": jnp.arange(300.0).reshape(3, 100) + step, "b": jnp.ones(3)}
    return TrainState(jnp.asarray(step, jnp.int32), params, (params, None))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes a workdir with checkpoints of steps 2 and 3."""
    workdir = tmp_path_factory.mktemp("saved")
    with Checkpoints(workdir, keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state(step))
    return workdir


@pytest.fixture
def workdir(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "workdir")


def restored(workdir: Path) -> int | None:
    """Returns the restored step, and checks its content."""
    with Checkpoints(workdir, keep=2) as checkpoints:
        actual = checkpoints.restore_newest(state(0))
    if actual is None:
        return None
    step = int(actual.step)
    np.testing.assert_array_equal(actual.params["a"], state(step).params["a"])
    return step


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = [truncate, empty, flip, Path.unlink]


def test_the_last_checkpoints_are_kept(saved: Path) -> None:
    assert sorted(path.name for path in (saved / "checkpoints").iterdir()) == ["2", "3"]


def test_without_a_checkpoint_none_is_restored(tmp_path: Path) -> None:
    assert restored(tmp_path) is None


def test_the_newest_is_restored(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert restored(workdir) == 3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", DAMAGES)
def test_with_any_file_damaged_the_previous_checkpoint_is_restored(
    workdir: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    newest = workdir / "checkpoints" / "3"
    undamaged = shutil.copytree(newest, workdir / "copy")
    names = [path.relative_to(newest) for path in newest.rglob("*") if path.is_file()]
    assert len(names) > 4
    for name in names:
        damage(newest / name)
        assert restored(workdir) == 2, name
        error = capsys.readouterr().err
        assert error.startswith(f"{newest}: damaged checkpoint (") and error.count("\n") == 1
        assert name.name in error or name.name == "checksums.json"
        assert error.endswith("3.damaged; training resumes from step 2\n")
        shutil.copytree(undamaged, newest)


def test_a_damaged_step_can_be_saved_again(workdir: Path) -> None:
    flip(workdir / "checkpoints" / "3" / "state" / "_METADATA")
    with Checkpoints(workdir, keep=2) as checkpoints:
        assert checkpoints.restore_newest(state(0)) is not None
        checkpoints.save(3, state(3))
    assert restored(workdir) == 3


@pytest.mark.parametrize("damage", DAMAGES)
def test_if_all_checkpoints_are_damaged_none_is_changed(
    workdir: Path, damage: Callable[[Path], None]
) -> None:
    for step in ("2", "3"):
        damage(workdir / "checkpoints" / step / "state" / "manifest.ocdbt")
    message = r"all checkpoints are damaged \(step 3: state/manifest.ocdbt"
    with pytest.raises(UserError, match=message):
        restored(workdir)
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["2", "3"]


# Names of this and of earlier versions.
@pytest.mark.parametrize("name", ["3.orbax-checkpoint-tmp", "3.unfinished"])
def test_an_unfinished_checkpoint_does_not_count(workdir: Path, name: str) -> None:
    folder = workdir / "checkpoints"
    (folder / "3").rename(folder / name)
    assert restored(workdir) == 2
    assert [path.name for path in folder.iterdir()] == ["2"]


BEST = "validation/loss"


@pytest.fixture(scope="module")
def with_best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes a workdir with the last two of six checkpoints, and the best one, of step 2."""
    workdir = tmp_path_factory.mktemp("best")
    losses = {1: math.nan, 2: 0.25, 3: 0.5, 5: 0.75}  # not measured at steps 4 and 6
    with Checkpoints(workdir, keep=2, best=BEST) as checkpoints:
        for step in range(1, 7):
            metrics = {BEST: losses[step], "validation/other": 1.0} if step in losses else None
            checkpoints.save(step, state(step), metrics)
    return workdir


def restored_best(workdir: Path, best: str = BEST) -> int | None:
    with Checkpoints(workdir, keep=2, best=best) as checkpoints:
        actual = checkpoints.restore_best(state(0))
    return None if actual is None else int(actual.step)


def steps(workdir: Path) -> list[str]:
    return sorted(path.name for path in (workdir / "checkpoints").iterdir())


def test_the_best_checkpoint_is_kept_and_restored(with_best: Path, tmp_path: Path) -> None:
    workdir = shutil.copytree(with_best, tmp_path / "workdir")
    assert steps(workdir) == ["2", "5", "6"]
    assert restored_best(workdir) == 2
    with Checkpoints(workdir, keep=2, best=BEST) as checkpoints:
        newest = checkpoints.restore_newest(state(0))
        assert newest is not None and int(newest.step) == 6
        checkpoints.save(7, state(7), {BEST: 0.125})
        assert int(checkpoints.restore_best(state(0)).step) == 7  # type: ignore[union-attr]
        with pytest.raises(UserError, match="best is 'validation/loss', expected one of a, b"):
            checkpoints.save(8, state(8), {"a": 1.0, "b": 2.0})
    assert steps(workdir) == ["6", "7"]


def test_higher_is_better_for_all_but_losses(tmp_path: Path) -> None:
    name = "validation/text to video R@1"
    with Checkpoints(tmp_path, keep=1, best=name) as checkpoints:
        assert checkpoints.restore_best(state(0)) is None
        for step, value in enumerate((0.25, 0.5, 0.125), 1):
            checkpoints.save(step, state(step), {name: value})
    assert steps(tmp_path) == ["2", "3"]
    assert restored_best(tmp_path, name) == 2


def test_a_damaged_best_checkpoint_is_set_aside(
    with_best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = shutil.copytree(with_best, tmp_path / "workdir")
    flip(workdir / "checkpoints" / "2" / "state" / "manifest.ocdbt")
    assert restored_best(workdir) == 5
    error = capsys.readouterr().err
    assert "renamed to 2.damaged; the best undamaged one is that of step 5" in error
    truncate(workdir / "checkpoints" / "5" / "metrics" / "metrics")
    assert restored_best(workdir) is None
    assert "(metrics/metrics has changed) renamed to 5.damaged" in capsys.readouterr().err


def test_a_failed_save_waits_for_no_other_process() -> None:
    try:
        raise OSError(28, "No space left on device")
    except OSError:
        with pytest.raises(OSError, match="No space left"):
            _wait_unless_failed(key="set", timeout_ms=1)
