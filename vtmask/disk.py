"""Files that are there whole or not at all."""

import os
import zlib
from pathlib import Path


def write_whole(path: Path, data: str | bytes, writer: str = "") -> None:
    """Replaces a file at once: whoever reads it sees the old data or all of the new.

    So it is after a loss of power, too.

    Args:
      writer: sets apart those who may write the file at the same time.
    """
    # Not longer than the file's own name may be.
    unfinished = path.with_name(f".{zlib.crc32(os.fsencode(path.name)):08x}{writer}.tmp")
    with unfinished.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
