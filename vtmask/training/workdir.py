"""The workdir of a run, which accepts no other config after its first checkpoint."""

import json
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath

from vtmask import disk
from vtmask.compatibility import BEFORE_ADDED, WHEN_RESUMED
from vtmask.errors import UserError, reason
from vtmask.training import distributed
from vtmask.training.checkpoints import DAMAGED, finished_steps


def claim_workdir(workdir: epath.Path, run: Mapping[str, Any]) -> None:
    """Compares the workdir's `config.json` with this run's settings.

    Without a finished checkpoint, this run's settings replace those of `config.json`.

    Args:
      run: the config and, under "inputs", the origin of features and tokens.

    Raises:
      UserError: the workdir belongs to another run or can't be written, or this process has other
        settings than the first process or does not see its files.
    """
    path = workdir / "config.json"
    ours = json.dumps(run, indent=2, sort_keys=True)
    try:
        if distributed.is_first() and not _is_trained(workdir):
            workdir.mkdir(parents=True, exist_ok=True)
            (workdir / "clusters").rmtree(missing_ok=True)  # they may be of other settings
            disk.write_whole(path, ours)
        distributed.wait_for_all("workdir")
        theirs_text = path.read_text() if path.exists() else None
    except disk.errors() as error:
        raise UserError(f"{workdir}: can't be written ({reason(error)})") from error
    if theirs_text is None:
        raise UserError(
            f"{workdir}: process {jax.process_index()} does not see the files of process 0; "
            "expected a --workdir that all processes share"
        )
    try:
        theirs = BEFORE_ADDED | _flatten(json.loads(theirs_text))
    except ValueError:
        raise UserError(
            f"{path}: is damaged; delete it if the workdir belongs to this run"
        ) from None
    mine = BEFORE_ADDED | _flatten(json.loads(ours))
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
            f"{path}: this workdir was trained with {name}={theirs.get(name)!r}, but the config "
            f"has {mine.get(name)!r}{more}; use another --workdir or the old values"
        )


def _is_trained(workdir: epath.Path) -> bool:
    """Whether the workdir has, or had, a finished checkpoint."""
    folder = workdir / "checkpoints"
    damaged = folder.exists() and any(path.name.endswith(DAMAGED) for path in folder.iterdir())
    return damaged or bool(finished_steps(folder))


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        flat |= _flatten(value, path + ".") if isinstance(value, dict) else {path: value}
    return flat
