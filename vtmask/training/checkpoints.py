"""Checkpoints of a run, and the workdir they belong to."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from vtmask.disk import write_whole
from vtmask.errors import UserError, reason
from vtmask.training.step import TrainState

# Fields with no effect on the parameters.
CHANGEABLE = ("log_every", "checkpoint.", "eval.", "data.dir")
_WRITE_ERRORS = (OSError, ValueError, RuntimeError)  # a full disk, as Orbax and TensorStore say it


class Checkpoints:
    """Saves a run's state in the background, keeps the last few, finds the newest.

    A checkpoint is written beside its final place and renamed when complete, so a kill or a full
    disk leaves the earlier ones as they were. Leaving the context waits for a save under way.
    """

    def __init__(self, workdir: Path, keep: int):
        self._folder = workdir.absolute() / "checkpoints"
        options = ocp.CheckpointManagerOptions(max_to_keep=keep)
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._manager.wait_until_finished()
            self._manager.close()
        except _WRITE_ERRORS as error:
            if kind is None:
                raise self._write_error(error) from error

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState) -> None:
        """Starts saving; a UserError if this save or the one before it can't be written."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            room = f"it takes {needed / 2**20:,.1f} MiB, {free / 2**20:,.1f} MiB are free"
            raise self._write_error(OSError(room))
        try:
            self._manager.save(step, args=ocp.args.StandardSave(state))
        except _WRITE_ERRORS as error:
            raise self._write_error(error) from error

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state saved at a step, placed as `like` is."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{self._folder / str(step)}: checkpoint can't be read ({reason(error)}); "
                "delete this folder to resume from the one before it"
            ) from error

    def _write_error(self, error: Exception) -> UserError:
        kept = [int(p.name) for p in self._folder.iterdir() if p.name.isdigit()]
        state = f"step {max(kept)} is safe" if kept else "none was written before"
        return UserError(
            f"{self._folder}: checkpoint can't be written ({reason(error)}); {state}; make room "
            "and run the same command again"
        )


def claim_workdir(workdir: Path, run: Mapping[str, Any]) -> None:
    """Writes `config.json` into a new workdir; a UserError if another run is there.

    Args:
      run: the config, and under "inputs" what made features and tokens.
    """
    path = workdir / "config.json"
    ours = json.dumps(run, indent=2, sort_keys=True)
    if not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        write_whole(path, ours)
        return
    try:
        theirs = _flatten(json.loads(path.read_text()))
    except ValueError:
        raise UserError(f"{path}: is damaged; delete it if the workdir is this run's") from None
    mine = _flatten(json.loads(ours))
    for name in sorted(theirs.keys() | mine.keys()):
        if not name.startswith(CHANGEABLE) and theirs.get(name) != mine.get(name):
            raise UserError(
                f"{path}: this workdir was trained with {name}={theirs.get(name)!r}, now it is "
                f"{mine.get(name)!r}; use another --workdir or the old value"
            )


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        flat |= _flatten(value, path + ".") if isinstance(value, dict) else {path: value}
    return flat
