"""Reads subtitle files as captions. A cue that can't be read is dropped or repaired, and counted.

Published subtitle libraries read well-formed files, but none reads every damaged file correctly or
reports what it dropped, so the readers here are our own.
"""

from collections.abc import Callable
from pathlib import Path

from vtmask.errors import UserError
from vtmask.files.subtitles.caption import Caption, Subtitles
from vtmask.files.subtitles.cues import read_sbv, read_srt, read_vtt
from vtmask.files.subtitles.lines import read_ass, read_lrc
from vtmask.files.subtitles.objects import from_json, read_json

__all__ = ["READERS", "Caption", "Subtitles", "from_json", "read"]

READERS: dict[str, Callable[[str | Path], Subtitles]] = {
    ".srt": read_srt,
    ".vtt": read_vtt,
    ".json": read_json,
    ".json3": read_json,
    ".sbv": read_sbv,
    ".ass": read_ass,
    ".ssa": read_ass,
    ".lrc": read_lrc,
}
"""File suffix → reader."""


def read(path: str | Path) -> Subtitles:
    """Reads a file's captions, and counts what was dropped or repaired.

    Tags are removed, HTML entities are replaced, and each run of white space becomes one space. To
    clean the captions, call `vtmask.datasets.captions.clean`.

    Raises:
      UserError: the suffix is unknown, the text is neither UTF-8 nor UTF-16 with a byte-order mark,
        or the file is not empty but none of its cues can be read; the message names the file and
        the line.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in READERS:
        raise UserError(f"{path}: suffix is {suffix!r}, expected {' or '.join(READERS)}")
    return READERS[suffix](path)
