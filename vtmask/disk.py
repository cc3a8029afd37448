"""Paths on this machine or in a bucket, and files that are complete or absent."""

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
    """Returns the absolute path of a file or folder or, in a bucket, its gs:// address.

    Raises:
      UserError: the address is not gs://, or the bucket can't be read.
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
    """Whether this is an address, not a path on this machine."""
    return "://" in os.fspath(path)


def local(path: str) -> Path:
    """Returns the path, for code that does not support buckets; a UserError if it is an address."""
    if in_bucket(path):
        raise UserError(f"{path}: expected a path on this machine; mount or copy the bucket")
    return Path(path)


def errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """Returns the exceptions that reading and writing files may raise, and `more`."""
    if "gcsfs" not in sys.modules:
        return (OSError, *more)
    from aiohttp import ClientError
    from gcsfs.retry import HttpError
    from google.auth.exceptions import GoogleAuthError

    return (OSError, HttpError, ClientError, GoogleAuthError, *more)


@functools.cache
def _require_bucket(name: str) -> None:
    """Configures gcsfs; raises a UserError unless the bucket can be read."""
    if not importlib.util.find_spec("gcsfs"):
        raise UserError(f"gs://{name}: buckets need gcsfs; pip install 'vtmask[gcs]'")
    # Support for other kinds of buckets would cost gcsfs a call, and a permission, for every file.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    import fsspec.config

    # TensorStore and other processes write too, so a cached listing may be stale.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    try:
        exists = epath.Path(f"gs://{name}").exists()
    except errors(ValueError) as error:
        raise UserError(f"gs://{name}: bucket can't be reached ({reason(error)})") from error
    if not exists:
        raise UserError(f"gs://{name}: no such bucket, or no permission to read it")


def unfinished(path: _P, writer: str = "") -> _P:
    """Returns the hidden path at which a file or folder is written before it is renamed.

    Args:
      writer: distinguishes processes that may write the file at the same time.
    """
    # A hash, because a suffix could make a long name too long.
    return path.with_name(f".{zlib.crc32(os.fsencode(path.name)):08x}{writer}.tmp")


def write_whole(path: Path | epath.Path, data: str | bytes, writer: str = "") -> None:
    """Replaces a file atomically: readers see all of the old data or all of the new.

    This also holds after a power failure.

    Args:
      writer: as in `unfinished`.
    """
    content = data.encode() if isinstance(data, str) else data
    if in_bucket(path):
        path.write_bytes(content)  # buckets replace objects atomically
        return
    path = Path(path)
    part = unfinished(path, writer)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:  # frees the space on a full disk
        part.unlink(missing_ok=True)
        raise
