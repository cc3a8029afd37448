"""Files that are there whole or not at all."""

import os
from pathlib import Path


def write_whole(path: Path, data: str | bytes, writer: str = "") -> None:
    """Replaces a file at once: whoever reads it sees the old data or all of the new.

    Args:
      writer: sets apart those who may write the file at the same time.
    """
    unfinished = path.with_name(f".{path.name}{writer}.tmp")
    unfinished.write_bytes(data.encode() if isinstance(data, str) else data)
    os.replace(unfinished, path)
