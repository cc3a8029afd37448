"""Files that are there whole or not at all."""

import os
import zlib
from pathlib import Path


def unfinished(path: Path, writer: str = "") -> Path:
    """Where a file or folder is written before it takes its place: hidden, so nobody's own.

    Args:
      writer: sets apart those who may write it at the same time.
    """
    # Not longer than the name itself may be.
    return path.with_name(f".{zlib.crc32(os.fsencode(path.name)):08x}{writer}.tmp")


def write_whole(path: Path, data: str | bytes, writer: str = "") -> None:
    """Replaces a file at once: whoever reads it sees the old data or all of the new.

    So it is after a loss of power, too.

    Args:
      writer: as in `unfinished`.
    """
    part = unfinished(path, writer)
    try:
        with part.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:  # a full disk should not hold half a file besides
        part.unlink(missing_ok=True)
        raise
