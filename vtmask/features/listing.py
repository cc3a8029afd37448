"""Finds video files by name: in folders, by patterns and in lists."""

import glob
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from vtmask.errors import UserError, reason

VIDEO_SUFFIXES = (
    *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
    *(".mts", ".ogv", ".ts", ".webm", ".wmv"),
)
_LIST_SUFFIXES = (".txt", ".lst")


class Listed(NamedTuple):
    """A video file.

    Attributes:
      name: name of its features, without suffix; it may include folders.
    """

    name: str
    path: Path


def find(arguments: Iterable[str]) -> list[Listed]:
    """Returns the videos that the arguments name, in order; several may share a name.

    An argument is

    - a folder: all video files in it and below, by suffix, named by their path from the folder;
    - a pattern with `*`, `**`, `?` or `[…]`: all video files that match, named by their path from
      the longest existing folder that the pattern begins with;
    - a list (`.txt`, `.lst`): one path per line, relative to the list's folder; a video is named by
      its path if that is relative and has no `..`, otherwise by its file name;
    - any other file, named by its file name.

    Raises:
      UserError: an argument matches nothing, or a folder or list can't be read.
    """
    listed: list[Listed] = []
    for argument in arguments:
        videos = list(_find(argument))
        if not videos:
            raise UserError(f"{argument}: holds no videos ({' '.join(VIDEO_SUFFIXES)})")
        listed += videos
    return listed


def _find(argument: str) -> Iterator[Listed]:
    path = Path(argument)
    if path.is_dir():
        for name, suffix, file in walk(path):
            if suffix in VIDEO_SUFFIXES:
                yield Listed(name, file)
    elif not path.exists() and glob.has_magic(argument):
        fixed = _existing(path)
        pattern = str(path.relative_to(fixed))
        for match in sorted(glob.glob(pattern, root_dir=fixed, recursive=True)):
            file = Path(match)
            if file.suffix.lower() in VIDEO_SUFFIXES:
                yield Listed(_name(file), fixed / file)
    elif path.suffix.lower() in _LIST_SUFFIXES:
        yield from _read_list(path)
    elif os.path.lexists(path):
        yield Listed(_name(Path(path.name)), path)
    else:
        raise UserError(f"{argument}: no such file or folder")


def _existing(path: Path) -> Path:
    """Returns the longest leading part of a path that is a folder."""
    return next((parent for parent in path.parents if parent.is_dir()), Path())


def _read_list(path: Path) -> Iterator[Listed]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not a list of paths in UTF-8") from error
    for line in filter(str.strip, lines):
        file = Path(line)
        if not file.name:
            raise UserError(f"{path}: {line!r} is not a file")
        below = not file.is_absolute() and ".." not in file.parts
        yield Listed(_name(file if below else Path(file.name)), path.parent / file)


def _name(path: Path) -> str:
    return path.with_suffix("").as_posix().encode("utf-8", "backslashreplace").decode()


def walk(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yields each file that is not hidden: its path from the folder without suffix, suffix, path.

    Links are followed; a folder that several links lead to is walked once.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read: {reason(error)}") from error

    walked = set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in walked:
            folders.clear()
            continue
        walked.add(real)
        folders.sort(key=lambda name: (os.path.islink(f"{parent}/{name}"), name))
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(parent, name)
                yield _name(path.relative_to(folder)), path.suffix.lower(), path


class Shard(NamedTuple):
    """The part of a job that one of several machines does: number `number`, from 1, of `total`."""

    number: int = 1
    total: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parses text such as "3/64"; a UserError if it has another form."""
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"--shard is {text!r}, expected NUMBER/TOTAL: 1/64, 2/64 … 64/64")
        return cls(int(match[1]), int(match[2]))

    def has(self, name: str) -> bool:
        """Whether the shard has the video; this does not depend on the other videos."""
        return zlib.crc32(name.encode()) % self.total == self.number - 1
