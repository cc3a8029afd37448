"""Checkpoints of a run."""

import asyncio
import json
import math
import shutil
import sys
from collections.abc import Iterable, Mapping

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN
from orbax.checkpoint.path import atomicity

from vtmask import disk
from vtmask.errors import UserError, reason
from vtmask.training import checksums, distributed
from vtmask.training.step import TrainState

# Metrics whose names have one of these are better the lower they are.
LOWER_IS_BETTER = ("loss", "MedR")
_STATE, _METRICS = "state", "metrics"  # Orbax names the second
DAMAGED = ".damaged"


class Checkpoints:
    """Saves a run's state in the background, keeps the last few and the best, and restores them.

    Orbax does that; this class adds checksums. All processes write a checkpoint, and the first
    process finishes it: it writes the SHA-256 of every file, and then renames the folder to its
    final name or, in a bucket, writes commit_success.txt. A kill or a full disk thus leaves earlier
    checkpoints intact, and every finished checkpoint is complete. If a checkpoint is damaged later,
    it is renamed and reported on stderr.

    Leaving the context waits for a save in progress.

    Args:
      keep: number of latest checkpoints to keep.
      best: the metric whose best checkpoint is also kept, or ""; see `LOWER_IS_BETTER`.

    Raises:
      UserError: there are checkpoints, but all are damaged.
    """

    def __init__(self, workdir: disk.AnyPath, keep: int, best: str = ""):
        self._folder = disk.resolve(workdir) / "checkpoints"
        self._best = best
        self._newest = distributed.from_first(self._prepare() if distributed.is_first() else 0)
        last = LatestN(keep)
        self._orbax = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy(
                    [last, BestN(get_metric_fn=self._quality, n=1)] if best else [last]
                ),
                best_fn=self._quality if best else None,
                cleanup_tmp_directories=True,
                save_root_metadata=False,
                temporary_path_class=_InBucket if disk.in_bucket(self._folder) else _OnDisk,
                async_options=ocp.AsyncOptions(barrier_sync_fn=_wait_unless_failed),
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._wait()
        except UserError:
            if kind is None:
                raise
        finally:
            self._orbax.close()

    def save(
        self, step: int, state: TrainState, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Starts saving.

        Args:
          metrics: of this step, including `best`; None if they were not measured.

        Raises:
          UserError: this save or the previous one can't be written, or `metrics` lacks `best`.
        """
        if self._best and metrics is not None and self._best not in metrics:
            raise UserError(
                f"config.checkpoint.best is {self._best!r}, expected one of {', '.join(metrics)}"
            )
        self._wait()
        if distributed.is_first() and not disk.in_bucket(self._folder):
            needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
            free = shutil.disk_usage(self._folder).free
            if free < needed:
                room = f"it takes {needed / 2**20:,.1f} MiB, {free / 2**20:,.1f} MiB are free"
                raise self._write_error(OSError(room))
        content = ocp.args.Composite(**{_STATE: ocp.args.StandardSave(state)})
        try:
            self._orbax.save(step, args=content, metrics=dict(metrics or {}), force=True)
        except _write_errors() as error:
            raise self._write_error(error) from error

    def restore_newest(self, like: TrainState) -> TrainState | None:
        """Returns the newest undamaged state, placed like `like`; None if there is none."""
        return self._restore(self._newest, like)

    def restore_best(self, like: TrainState) -> TrainState | None:
        """Returns the best state that was kept; None if `best` was never measured."""
        self._wait()
        best = 0
        if distributed.is_first():
            qualities = {step: self._quality(self._orbax.metrics(step)) for step in self._steps()}
            measured = [step for step, quality in qualities.items() if quality > -math.inf]
            ranked = sorted(measured, key=lambda step: (qualities[step], step), reverse=True)
            best = self._first_undamaged(ranked, "the best undamaged one is that of step")
        best = distributed.from_first(best)
        self._orbax.reload()  # drops those set aside
        return self._restore(best, like)

    def _restore(self, step: int, like: TrainState) -> TrainState | None:
        if not step:
            return None
        folder = self._folder / str(step)
        state = folder / _STATE
        try:
            return ocp.StandardCheckpointHandler().restore(
                state if state.exists() else folder,  # the layout of an earlier version
                args=ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, like)),
            )
        except disk.errors(ValueError, KeyError) as error:
            raise UserError(
                f"{folder}: checkpoint can't be read ({reason(error)}), though its checksums are "
                "right; use the version of vtmask that wrote it, or start over in another --workdir"
            ) from error

    def _quality(self, metrics: Mapping[str, float] | None) -> float:
        """Returns the metric `best` so that higher is better; -inf if it was not measured."""
        value = (metrics or {}).get(self._best, math.nan)
        if math.isnan(value):
            return -math.inf
        return -value if any(part in self._best for part in LOWER_IS_BETTER) else value

    def _wait(self) -> None:
        try:
            self._orbax.wait_until_finished()
        except _write_errors() as error:
            raise self._write_error(error) from error

    def _prepare(self) -> int:
        """Removes unfinished checkpoints; returns the step to resume from, 0 if there is none."""
        # Orbax's, and those of an earlier version; in a bucket, Orbax knows them by their content.
        for name in ("*.orbax-checkpoint-tmp*", "*.unfinished*"):
            for unfinished in self._folder.glob(name):
                unfinished.rmtree(missing_ok=True)
        newest = self._first_undamaged(reversed(self._steps()), "training resumes from step")
        # Orbax reads the metrics of all checkpoints.
        for step in self._steps() if newest and self._best else []:
            folder = self._folder / str(step)
            if damage := checksums.damage(folder, lambda name: name.startswith(_METRICS)):
                self._set_aside({step: damage}, f"training resumes from step {newest}")
        return newest

    def _first_undamaged(self, steps: Iterable[int], then: str) -> int:
        """Returns the first undamaged step, 0 if `steps` is empty; sets aside those before it.

        Raises:
          UserError: all of them are damaged.
        """
        damaged: dict[int, str] = {}
        for step in steps:
            damage = checksums.damage(self._folder / str(step))
            if damage is None:
                self._set_aside(damaged, f"{then} {step}")
                return step
            damaged[step] = damage
        if damaged:
            first = next(iter(damaged))
            raise UserError(
                f"{self._folder}: all checkpoints are damaged (step {first}: {damaged[first]}); "
                "restore one from a backup, or start over in another --workdir"
            )
        return 0

    def _set_aside(self, damaged: Mapping[int, str], then: str) -> None:
        for step, damage in damaged.items():
            path = self._folder / str(step)
            aside = path.with_name(path.name + DAMAGED)
            aside.rmtree(missing_ok=True)
            path.rename(aside)
            print(
                f"{path}: damaged checkpoint ({damage}) renamed to {aside.name}; {then}",
                file=sys.stderr,
            )

    def _steps(self) -> list[int]:
        return finished_steps(self._folder)

    def _write_error(self, error: Exception) -> UserError:
        kept = self._steps()
        state = f"step {max(kept)} is saved" if kept else "no earlier step is saved"
        make_room = "" if disk.in_bucket(self._folder) else "make room and "
        return UserError(
            f"{self._folder}: checkpoint can't be written ({reason(error)}); {state}; {make_room}"
            "run the same command again"
        )


class _OnDisk(atomicity.AtomicRenameTemporaryPath):
    """Finishes a checkpoint on a disk: writes its checksums, then renames its folder."""

    async def finalize(self) -> None:
        if not _is_step(self.get_final().name):  # the folder of the state, inside a checkpoint
            return await super().finalize()
        await asyncio.to_thread(_write_checksums, self)
        self.get().rename(self.get_final())


class _InBucket(atomicity.CommitFileTemporaryPath):
    """Finishes a checkpoint in a bucket: writes its checksums, then commit_success.txt."""

    async def finalize(self) -> None:
        if _is_step(self.get_final().name):
            await asyncio.to_thread(_write_checksums, self)
            self._checkpoint_metadata_store = None  # or Orbax changes a file after its checksum
        await super().finalize()


def _write_checksums(checkpoint: atomicity.TemporaryPathBase) -> None:
    folder, store = checkpoint.get(), checkpoint._checkpoint_metadata_store
    if store:
        store.wait_until_finished()
    (folder / checksums.FILE).write_text(json.dumps(checksums.checksums(folder), indent=2))


def _wait_unless_failed(key: str, timeout_ms: int) -> None:
    """Waits for all processes; if this one's save has failed, raises its error instead."""
    if error := sys.exception():
        raise error
    ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)


def _write_errors() -> tuple[type[Exception], ...]:
    """Returns the exceptions that Orbax and TensorStore raise, for example on a full disk."""
    return disk.errors(ValueError, RuntimeError)


def _is_step(name: str) -> bool:
    return name.isdecimal()


def finished_steps(folder: epath.Path) -> list[int]:
    """Returns the steps of the finished checkpoints in a folder, ascending."""
    if not folder.exists():
        return []
    kind = _InBucket if disk.in_bucket(folder) else _OnDisk
    return sorted(
        int(path.name)
        for path in folder.iterdir()
        if _is_step(path.name) and ocp.path.step.is_path_finalized(path, temporary_path_cls=kind)
    )
