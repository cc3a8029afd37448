"""Checksums of a checkpoint's files, which reveal damage."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import PurePath

from etils import epath

from vtmask import disk
from vtmask.errors import reason

FILE = "checksums.json"  # in a checkpoint: the SHA-256 of every other file, by its path


def checksums(folder: epath.Path, chosen: Callable[[str], bool] = lambda _: True) -> dict[str, str]:
    """Returns the SHA-256 of a checkpoint's files, by their paths in it.

    Args:
      chosen: whether to include a path.
    """
    digests = {}
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if chosen(name):
            with path.open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return dict(sorted(digests.items()))


def _files(folder: epath.Path) -> Iterator[epath.Path]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def damage(folder: epath.Path, chosen: Callable[[str], bool] = lambda _: True) -> str | None:
    """Describes the damage to a checkpoint's files in a few words; None if there is none."""
    # An unreachable bucket does not mean that its files are damaged.
    unreadable = FileNotFoundError if disk.in_bucket(folder) else OSError
    try:
        expected = json.loads((folder / FILE).read_text())
        digests = checksums(folder, chosen)
    except ValueError:
        return f"{FILE} is not JSON"
    except unreadable as error:
        return f"{PurePath(error.filename or folder).name}: {reason(error)}"
    for name, digest in expected.items():
        if not chosen(name):
            continue
        if name not in digests:
            return f"{name} is missing"
        if digests[name] != digest:
            return f"{name} has changed"
    return None
