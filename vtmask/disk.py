"""Files that are there whole or not at all, on this machine or in a bucket."""

import functools
import importlib.util
import os
import sys
import zlib
from pathlib import Path
from typing import TypeVar

from etils import epath

from vtmask.errors import UserError, reason

AnyPath = str | os.PathLike[str]
_P = TypeVar("_P", Path, epath.Path)


def resolve(path: AnyPath) -> epath.Path:
    """A file or folder by its absolute path or, in a bucket, its gs:// address.

    Raises:
      UserError: the address is of storage that can't be used, or the bucket can't be reached.
    """
    os.environ.setdefault("EPATH_USE_TF", "false")  # or epath imports TensorFlow
    text = os.fspath(path)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return epath.Path(os.path.abspath(text))
    if scheme != "gs":
        raise UserError(f"{text}: expected a folder or gs://BUCKET/…; mount the bucket as a folder")
    _require_bucket(rest.partition("/")[0])
    return epath.Path(text)


def in_bucket(path: AnyPath) -> bool:
    """Whether it is an address, not a path of this machine."""
    return "://" in os.fspath(path)


def local(path: str) -> Path:
    """A path of this machine, for what doesn't work on buckets; a UserError if it is an address."""
    if in_bucket(path):
        raise UserError(f"{path}: expected a path of this machine; mount the bucket, or copy it")
    return Path(path)


def errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """What may be raised where files are read and written, and more."""
    if "gcsfs" not in sys.modules:
        return (OSError, *more)
    from aiohttp import ClientError
    from gcsfs.retry import HttpError
    from google.auth.exceptions import GoogleAuthError

    return (OSError, HttpError, ClientError, GoogleAuthError, *more)


@functools.cache
def _require_bucket(name: str) -> None:
    """UserError unless the bucket can be read; sets up what reads it."""
    if not importlib.util.find_spec("gcsfs"):
        raise UserError(f"gs://{name}: buckets need gcsfs; pip install 'vtmask[gcs]'")
    # Kinds of buckets are not told apart, which takes a call, and a permission, for every file.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    import fsspec.config

    # TensorStore and other processes write, too.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    try:
        exists = epath.Path(f"gs://{name}").exists()
    except errors(ValueError) as error:
        raise UserError(f"gs://{name}: bucket can't be reached ({reason(error)})") from error
    if not exists:
        raise UserError(f"gs://{name}: no such bucket, or no permission to read it")


def unfinished(path: _P, writer: str = "") -> _P:
    """Where a file or folder is written before it takes its place: hidden, so nobody's own.

    Args:
      writer: sets apart those who may write it at the same time.
    """
    # Not longer than the name itself may be.
    return path.with_name(f".{zlib.crc32(os.fsencode(path.name)):08x}{writer}.tmp")


def write_whole(path: Path | epath.Path, data: str | bytes, writer: str = "") -> None:
    """Replaces a file at once: whoever reads it sees the old data or all of the new.

    So it is after a loss of power, too.

    Args:
      writer: as in `unfinished`.
    """
    content = data.encode() if isinstance(data, str) else data
    if in_bucket(path):
        path.write_bytes(content)  # an object is replaced as a whole
        return
    path = Path(path)
    part = unfinished(path, writer)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:  # a full disk should not hold half a file besides
        part.unlink(missing_ok=True)
        raise
