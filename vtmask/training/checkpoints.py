"""Checkpoints of a run, and the workdir they belong to."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from vtmask.errors import UserError
from vtmask.training.step import TrainState

CHANGEABLE = ("log_every", "checkpoint")  # fields with no effect on the parameters
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
            reason = f"it takes {needed / 2**20:,.1f} MiB, {free / 2**20:,.1f} MiB are free"
            raise self._write_error(OSError(reason))
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
                f"{self._folder / str(step)}: checkpoint can't be read ({_reason(error)}); "
                "delete this folder to resume from the one before it"
            ) from error

    def _write_error(self, error: Exception) -> UserError:
        kept = [int(p.name) for p in self._folder.iterdir() if p.name.isdigit()]
        state = f"step {max(kept)} is safe" if kept else "none was written before"
        return UserError(
            f"{self._folder}: checkpoint can't be written ({_reason(error)}); {state}; make room "
            "and run the same command again"
        )


def claim_workdir(workdir: Path, config: ConfigDict) -> None:
    """Writes `config.json` into a new workdir; a UserError if another config's run is there."""
    path = workdir / "config.json"
    if not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        path.write_text(config.to_json(indent=2, sort_keys=True))
        return
    theirs, ours = _flatten(json.loads(path.read_text())), _flatten(json.loads(config.to_json()))
    for name in sorted(theirs.keys() | ours.keys()):
        if name.split(".")[0] not in CHANGEABLE and theirs.get(name) != ours.get(name):
            raise UserError(
                f"{path}: this workdir was trained with {name}={theirs.get(name)!r}, the config "
                f"now says {ours.get(name)!r}; use another --workdir or the old value"
            )


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        flat |= _flatten(value, path + ".") if isinstance(value, dict) else {path: value}
    return flat


def _reason(error: Exception) -> str:
    """The innermost cause: TensorStore strings causes together with colons."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].rsplit(": ", 1)[-1]
