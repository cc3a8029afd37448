"""The files that an index is made from: videos, captions and the model."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vtmask.features import listing
from vtmask.features.listing import Listed

_CAPTIONS = (".vtt", ".srt", ".json")
_LANGUAGE = re.compile(r"(.+)\.[a-z]{2,3}(?:-[a-z0-9]+)*", re.IGNORECASE | re.DOTALL)


class State(NamedTuple):
    """The size and modification time of a file, which reveal a change."""

    bytes: int
    modified_ns: int


@dataclass(frozen=True)
class Source:
    """A video file as it is now.

    Attributes:
      sha256: of the file; names its features.
      captions: file of its captions, or None.
      captions_state: that file's path, size and time now; "" if there is none.
    """

    listed: Listed
    state: State
    sha256: str
    captions: Path | None
    captions_state: str

    @property
    def path(self) -> str:
        return absolute(self.listed.path)

    @property
    def video(self) -> int:
        """The video's number, the same if the same files at the same paths are indexed again.

        It has 53 bits, so that JavaScript can hold it.
        """
        key = "\0".join((self.path, self.sha256, self.captions_state))
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") >> 11


def fingerprint(folder: Path) -> str:
    """Returns the SHA-256 of an exported model's files; the folder's path has no effect."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def absolute(path: Path) -> str:
    return os.path.abspath(path)


def state_of(path: str | Path) -> State:
    """Returns a file's size and time; OSError if it does not exist."""
    stat = os.stat(path)
    return State(stat.st_size, stat.st_mtime_ns)


def captions_in(folder: Path) -> dict[str, Path]:
    """Returns caption files by the name of their video; NAME.vtt is preferred to NAME.en.vtt."""
    files = sorted(folder.iterdir(), reverse=True)
    videos = {path.stem for path in files if path.suffix.lower() in listing.VIDEO_SUFFIXES}
    paths = [path for path in files if path.suffix.lower() in _CAPTIONS]
    paths.sort(key=lambda path: _CAPTIONS.index(path.suffix.lower()), reverse=True)
    tagged = {
        tag[1]: path
        for path in paths
        if path.stem not in videos and (tag := _LANGUAGE.fullmatch(path.stem))
    }
    return tagged | {path.stem: path for path in paths}
