"""Thumbnails of video files for pages: small JPEGs as data URIs."""

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer

from vtmask import pages
from vtmask.errors import UserError

_READ_ON = 10  # seconds; for a frame closer than this, reading on is faster than seeking


@dataclass(frozen=True)
class Thumbnail:
    """A frame of a video, upright.

    Attributes:
      second: time in the video.
      uri: the JPEG as a data URI.
    """

    second: float
    uri: str


def at(video: Path, seconds: Iterable[float], height: int) -> list[Thumbnail]:
    """Returns the frames at the given seconds; past the end, the last frame.

    Args:
      seconds: in ascending order.
      height: of the thumbnails, in pixels.

    Raises:
      UserError: the file can't be read. The message names the file without its folder.
    """
    with _open(video) as container:
        times = [round(second * av.time_base) for second in seconds]
        return _thumbnails(video, container, times, height)


def evenly_spaced(
    video: Path, start: float | None, end: float | None, count: int, height: int
) -> list[Thumbnail]:
    """Returns the frames at the middles of equal parts of a stretch; fewer if it is very short.

    Args:
      start, end: of the stretch, in seconds; None stands for the beginning or end of the video.
      count: number of parts.
      height: of the thumbnails, in pixels.

    Raises:
      UserError: the file can't be read, or ends before the stretch. The message names the file
        without its folder.
    """
    with _open(video) as container:
        duration = container.duration or 0
        begin = 0 if start is None else round(start * av.time_base)
        stop = duration if end is None else min(duration, round(end * av.time_base))
        if begin > stop or not duration:
            raise UserError(f"{video.name}: ends at {duration / av.time_base:.1f} s")
        middles = (begin + (stop - begin) * odd // (2 * count) for odd in range(1, 2 * count, 2))
        return _thumbnails(video, container, dict.fromkeys(middles), height)


@contextlib.contextmanager
def _open(video: Path) -> Iterator[InputContainer]:
    try:
        # "file:" because the name may start like a protocol.
        with av.open(f"file:{video}", metadata_errors="replace") as container:
            if not container.streams.video:
                raise UserError(f"{video.name}: has no video stream")
            yield container
    except av.FFmpegError as error:
        raise UserError(f"{video.name}: {error.strerror}") from error


def _thumbnails(
    video: Path, container: InputContainer, times: Iterable[int], height: int
) -> list[Thumbnail]:
    """Decodes the first frame at or after each time, in microseconds, or else the last frame."""
    thumbnails = []
    frame: av.VideoFrame | None = None
    for time in times:
        # A file's timestamps need not start at zero.
        target = (container.start_time or 0) + min(time, container.duration or time)
        if frame is None or target - _microseconds(frame) > _READ_ON * av.time_base:
            container.seek(target)
            frames = container.decode(video=0)
        while frame is None or _microseconds(frame) < target:
            following = next(frames, None)
            if following is None:
                break
            frame = following
        if frame:
            thumbnails.append(Thumbnail(time / av.time_base, _jpeg(frame, height)))
    if not thumbnails:
        raise UserError(f"{video.name}: no frames can be decoded")
    return thumbnails


def _microseconds(frame: av.VideoFrame) -> float:
    return -1 if frame.time is None else frame.time * av.time_base


def _jpeg(frame: av.VideoFrame, height: int) -> str:
    picture = frame.to_image().rotate(frame.rotation, expand=True)
    picture.thumbnail((16 * height, height))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=75)
    return pages.data_uri("image/jpeg", data.getvalue())
