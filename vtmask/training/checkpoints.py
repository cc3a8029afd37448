"""Checkpoints of a run, and the workdir they belong to."""

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from vtmask.compatibility import WHEN_RESUMED
from vtmask.disk import write_whole
from vtmask.errors import UserError, reason
from vtmask.training import distributed
from vtmask.training.step import TrainState

_WRITE_ERRORS = (OSError, ValueError, RuntimeError)  # a full disk, as Orbax and TensorStore say it
_CHECKSUMS = "checksums.json"
_UNFINISHED, _DAMAGED = ".unfinished", ".damaged"


class Checkpoints:
    """Saves a run's state in the background, keeps the last few, restores the newest.

    All processes write, the first one finishes: it adds the SHA-256 of every file, gives the
    checkpoint its name and deletes the oldest. So a kill or a full disk leaves the earlier ones as
    they were, and a name belongs to a whole checkpoint. Leaving the context waits for a save under
    way.
    """

    def __init__(self, workdir: Path, keep: int):
        self._folder = workdir.absolute() / "checkpoints"
        self._keep = keep
        self._orbax = ocp.StandardCheckpointer()
        self._background = ThreadPoolExecutor(1, "checkpoint")
        self._saving: Future[None] | None = None
        if distributed.is_first():
            self._folder.mkdir(parents=True, exist_ok=True)
            for unfinished in self._folder.glob(f"*{_UNFINISHED}*"):
                shutil.rmtree(unfinished)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._wait()
        except UserError:
            if kind is None:
                raise
        finally:
            self._background.shutdown()
            self._orbax.close()

    def save(self, step: int, state: TrainState) -> None:
        """Starts saving; a UserError if this save or the one before it can't be written."""
        self._wait()
        if distributed.is_first():
            needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
            free = shutil.disk_usage(self._folder).free
            if free < needed:
                room = f"it takes {needed / 2**20:,.1f} MiB, {free / 2**20:,.1f} MiB are free"
                raise self._write_error(OSError(room))
        try:
            self._orbax.save(self._unfinished(step), state)
        except _WRITE_ERRORS as error:
            raise self._write_error(error) from error
        self._saving = self._background.submit(self._finish, step)

    def restore_newest(self, like: TrainState) -> TrainState | None:
        """The newest state that is as it was written, placed as `like` is; None if none was saved.

        Those damaged are moved out of the way, and a line on stderr tells. A UserError if all are.
        """
        step = distributed.of_first(self._newest_whole() if distributed.is_first() else 0)
        if not step:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            return self._orbax.restore(self._folder / str(step), abstract)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{self._folder / str(step)}: checkpoint can't be read ({reason(error)}), though "
                "it is as it was written; go on with the version that wrote it, or start again in "
                "another --workdir"
            ) from error

    def _finish(self, step: int) -> None:
        self._orbax.wait_until_finished()
        if not distributed.is_first():
            return
        unfinished = self._unfinished(step)
        write_whole(unfinished / _CHECKSUMS, json.dumps(_checksums(unfinished), indent=2))
        unfinished.rename(self._folder / str(step))
        for old in self._steps()[: -self._keep]:
            shutil.rmtree(self._folder / str(old))

    def _wait(self) -> None:
        if self._saving:
            saving, self._saving = self._saving, None
            try:
                saving.result()
            except _WRITE_ERRORS as error:
                raise self._write_error(error) from error

    def _newest_whole(self) -> int:
        """The step to go on from, 0 where there is no checkpoint."""
        damaged: dict[int, str] = {}
        for step in reversed(self._steps()):
            damage = _damage(self._folder / str(step))
            if damage is None:
                self._set_aside(damaged, step)
                return step
            damaged[step] = damage
        if damaged:
            newest = max(damaged)
            raise UserError(
                f"{self._folder}: no checkpoint can be read (of step {newest}, "
                f"{damaged[newest]}); put a copy back, or start again in another --workdir"
            )
        return 0

    def _set_aside(self, damaged: Mapping[int, str], whole: int) -> None:
        for step, damage in damaged.items():
            path = self._folder / str(step)
            aside = path.with_name(path.name + _DAMAGED)
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            print(
                f"{path}: checkpoint is damaged ({damage}) and now {aside.name}; training goes on "
                f"from step {whole}",
                file=sys.stderr,
            )

    def _steps(self) -> list[int]:
        return sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdigit())

    def _unfinished(self, step: int) -> Path:
        return self._folder / f"{step}{_UNFINISHED}"

    def _write_error(self, error: Exception) -> UserError:
        kept = self._steps()
        state = f"step {max(kept)} is safe" if kept else "none was written before"
        return UserError(
            f"{self._folder}: checkpoint can't be written ({reason(error)}); {state}; make room "
            "and run the same command again"
        )


def _checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a checkpoint, by its path there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = digest
    return found


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in a few words; None where nothing is."""
    try:
        expected = json.loads((folder / _CHECKSUMS).read_text())
        found = _checksums(folder)
    except ValueError:
        return f"{_CHECKSUMS} is no JSON"
    except OSError as error:
        return f"{Path(error.filename or folder).name}: {reason(error)}"
    for name, digest in expected.items():
        if name not in found:
            return f"{name} is missing"
        if found[name] != digest:
            return f"{name} has changed"
    return None


def claim_workdir(workdir: Path, run: Mapping[str, Any]) -> None:
    """The first process writes `config.json` into a new workdir; all compare theirs with it.

    Args:
      run: the config, and under "inputs" what made features and tokens.

    Raises:
      UserError: another run is there, or this process has other settings than the first, or does
        not see its files.
    """
    path = workdir / "config.json"
    ours = json.dumps(run, indent=2, sort_keys=True)
    if distributed.is_first() and not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        write_whole(path, ours)
    distributed.wait_for_all("workdir")
    if not path.exists():
        raise UserError(
            f"{workdir}: process {jax.process_index()} does not see the first one's files; "
            "--workdir must be a folder that all processes share"
        )
    try:
        theirs = _flatten(json.loads(path.read_text()))
    except ValueError:
        raise UserError(f"{path}: is damaged; delete it if the workdir is this run's") from None
    mine = _flatten(json.loads(ours))
    others = [
        name
        for name in sorted(
            theirs.keys() | mine.keys(), key=lambda name: (name != "task.name", name)
        )
        if not name.startswith(WHEN_RESUMED) and theirs.get(name) != mine.get(name)
    ]
    if others:
        name, more = others[0], f" ({len(others) - 1} more differ)" if others[1:] else ""
        raise UserError(
            f"{path}: this workdir was trained with {name}={theirs.get(name)!r}, now it is "
            f"{mine.get(name)!r}{more}; use another --workdir or the old values"
        )


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        flat |= _flatten(value, path + ".") if isinstance(value, dict) else {path: value}
    return flat
