"""Decodes video files to uint8 frames, one window at a time."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags as FormatFlags
from av.stream import Disposition, Stream

from vtmask.errors import UserError
from vtmask.features.squares import Squares
from vtmask.features.window import Window

_DEFAULT_RATE = 25  # frames per second if the file states no rate; as in ffmpeg
_LONGEST_GAP = 10  # seconds that time may jump ahead in formats that allow jumps; as in ffmpeg
_JITTER = 0.1  # seconds that time may go back in these formats; as in ffmpeg
_LONGEST_HOLD = 3600  # seconds that a picture may stay, whatever the timestamps say
_PICTURES_PER_SECOND = 8


class DamagedVideo(UserError):
    """Raised after a video's last window if some of its windows are not as they were recorded."""


def windows(path: str | Path, window: Window) -> Iterator[np.ndarray]:
    """Decodes a video into windows, uint8 `window.shape`.

    The frames equal those of the published preprocessing, the command

        ffmpeg -i PATH -vf fps=RATE,scale=WIDTH:HEIGHT,crop=SIZE:SIZE -pix_fmt rgb24 -f rawvideo -

    where SIZE is the picture's short side after `scale`, and the long side is rounded down. Tick t
    of the frame rate shows the last frame whose time rounds to t / RATE or less. Time zero is the
    file's, or the first frame's if the file has a single stream. Pictures are turned upright
    according to their metadata, and pixels count as square. The last window is filled up. Memory
    does not grow with the video's length.

    Damaged parts are left out: the previous frame covers a packet that can't be decoded, and an
    error of the file ends the video. An implausible timestamp is ignored, and time continues from
    the previous frame. A timestamp is implausible if it jumps by more than 10 seconds in a format
    that allows jumps; in other formats, if it lies past the end that the file states, or more than
    an hour ahead.

    Raises:
      DamagedVideo: after the last window, if some of the video is lost; the message says what.
      UserError: the file is missing, not a video, or none of it can be decoded.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # a pipe might never end
        raise UserError(f"{path}: not a file")
    health = _Health()
    try:
        # "file:" because a name may begin like a protocol; "-genpts" because generating timestamps
        # reads ahead without bound; "replace" because not all metadata are UTF-8.
        options = {"fflags": "-genpts"}
        with av.open(
            f"file:{path}", container_options=options, metadata_errors="replace"
        ) as container:
            stream = _choose_stream(path, container)
            frames = _timed(_decoded(container, stream, health), container, stream, health)
            shown = _sampled(frames, window.frame_rate, padded=len(container.streams) > 1)
            squares = Squares(window)
            yield from _filled(((squares(frame), ticks) for frame, ticks in shown), window)
    except av.FFmpegError as error:
        raise UserError(f"{path}: cannot be decoded: {error.strerror}") from error
    losses = health.losses()
    if not health.frames:
        raise UserError(f"{path}: has no video frames; {losses or 'replace it'}")
    if losses:
        raise DamagedVideo(f"{path}: damaged: {losses}")


def pictures(path: str | Path, times: Sequence[float], size: int) -> list[np.ndarray]:
    """Returns the frame shown at each time, within 1/16 s; after the end, the last frame.

    Args:
      times: in seconds, in order.
      size: height and width of a picture.

    Returns:
      uint8 [size, size, 3] each.

    Raises:
      UserError: as in `windows`, except that a damaged video gives the pictures that are left.
    """
    ticks = [round(time * _PICTURES_PER_SECOND) for time in times]
    at_tick: dict[int, np.ndarray] = {}
    picture = np.zeros((size, size, 3), np.uint8)
    with suppress(DamagedVideo):
        for tick, (picture,) in enumerate(windows(path, Window(1, _PICTURES_PER_SECOND, size))):
            if tick in ticks:
                at_tick[tick] = picture
            if tick >= ticks[-1]:
                break
    return [at_tick.get(tick, picture) for tick in ticks]


def _choose_stream(path: Path, container: InputContainer) -> av.VideoStream:
    """Chooses the stream that ffmpeg would: the largest, with a bonus for the default stream."""
    streams = [s for s in container.streams.video if Disposition.attached_pic not in s.disposition]
    if not streams:
        raise UserError(f"{path}: has no video stream; expected a video file")
    streams = [stream for stream in streams if stream.codec_context]
    if not streams:
        raise UserError(f"{path}: cannot be decoded: unknown codec; convert it to H.264")
    default = Disposition.default
    return max(streams, key=lambda s: s.width * s.height + 5_000_000 * (default in s.disposition))


@dataclasses.dataclass
class _Health:
    """The outcome of decoding a video.

    Attributes:
      packets, undecodable: number of packets read, and of those that gave an error.
      reason: the last such error.
      frames, corrupt: number of frames decoded, and of those decoded with errors.
      end: end of the last frame, in seconds.
      error: why the file couldn't be read further.
      read, stated: end of the video by its packets and by the file's header, in seconds.
    """

    packets: int = 0
    undecodable: int = 0
    reason: str = ""
    frames: int = 0
    corrupt: int = 0
    end: float = 0.0
    error: str = ""
    read: float = 0.0
    stated: float = 0.0

    def losses(self) -> str:
        """Describes what is lost."""
        losses = []
        if self.undecodable:
            lost = f"{self.undecodable} of {self.packets} packets can't be decoded ({self.reason})"
            losses.append(f"{lost}; their time repeats the frames before" if self.frames else lost)
        if self.corrupt:
            losses.append(f"{self.corrupt} of {self.frames} frames are decoded with errors")
        if self.error:
            losses.append(f"after {self.end:.1f} s: {self.error}")
        if self.stated - self.read > 1 + 0.01 * self.stated:
            losses.append(f"ends after {self.read:.1f} of {self.stated:.1f} s")
        return "; ".join(losses)


def _decoded(
    container: InputContainer, stream: av.VideoStream, health: _Health
) -> Iterator[av.VideoFrame]:
    """Yields the stream's frames in display order."""
    stream.codec_context.thread_count = 1  # videos are decoded in parallel, one per core
    for packet in _packets(container, stream, health):
        try:
            if packet and packet.has_sidedata("encryption_info"):
                raise av.InvalidDataError(0, "encrypted")
            frames = stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            if packet:
                health.undecodable += 1
                health.reason = error.strerror or str(error)
            continue
        for frame in frames:
            health.frames += 1
            health.corrupt += frame.is_corrupt
            yield frame


def _packets(
    container: InputContainer, stream: av.VideoStream, health: _Health
) -> Iterator[av.Packet | None]:
    """Yields the stream's packets, as far as they can be read, then None to flush the decoder."""
    # Only durations that a file states are trusted, not those estimated from timestamps or bit
    # rates: durations of streams with an index (MP4, AVI), and Matroska's single duration of all
    # streams, for which all streams have to be read.
    looked_at: list[Stream] = [stream]
    if (stream.frames or "mp4" in container.format.name) and stream.duration and stream.time_base:
        health.stated = float(stream.duration * stream.time_base)
    elif "matroska" in container.format.name and container.duration and not stream.duration:
        health.stated, looked_at = container.duration / av.time_base, [*container.streams]
    try:
        for packet in container.demux(looked_at):
            if not packet.size:  # AVI has empty packets for a picture that stays
                continue
            start = packet.dts if packet.pts is None else packet.pts
            if start is not None:
                end = float((start + (packet.duration or 0)) * packet.time_base)
                health.read = max(health.read, end)
            if packet.stream_index == stream.index:
                health.packets += 1
                yield packet
    except av.FFmpegError as error:
        health.error = error.strerror or str(error)
    except IndexError:  # PyAV raises it at the end of a file in which a stream turned up late
        pass
    yield None


def _stamped(
    frames: Iterable[av.VideoFrame],
) -> Iterator[tuple[av.VideoFrame, int | None]]:
    """Yields frames with their pts, or with dts while fewer of those were out of order (ffmpeg)."""
    last_pts = last_dts = -math.inf
    disorder = 0
    for frame in frames:
        pts, dts = frame.pts, frame.dts
        if pts is None or dts is None:
            yield frame, dts if pts is None else pts
        else:
            disorder += (pts <= last_pts) - (dts <= last_dts)
            last_pts, last_dts = pts, dts
            yield frame, dts if disorder > 0 else pts


def _timed(
    frames: Iterable[av.VideoFrame],
    container: InputContainer,
    stream: av.VideoStream,
    health: _Health,
) -> Iterator[tuple[av.VideoFrame, Fraction, Fraction]]:
    """Yields frames with their start and end, in seconds from time zero.

    Implausible timestamps are replaced; see `windows`. Those of late frames are kept.
    """
    unit = stream.time_base or Fraction(1, 90_000)
    second = 1 / unit
    leaps = FormatFlags.ts_discont in FormatFlags(container.format.flags)
    if leaps:  # as in ffmpeg, which here ignores streams that are not decoded
        zero = stream.start_time or 0
    else:
        zero = round((container.start_time or 0) * second / av.time_base)
    stated = round((container.duration or 0) * second / av.time_base) or math.inf
    jitter, gap, hold = (round(s * second) for s in (_JITTER, _LONGEST_GAP, _LONGEST_HOLD))
    period = round(second / (stream.guessed_rate or _DEFAULT_RATE)) or 1
    begin = end = 0
    for frame, stamp in _stamped(frames):
        last, begin = begin, end if stamp is None else stamp - zero
        if leaps and not last - jitter <= begin <= end + gap:
            zero, begin = zero + begin - end, end
        elif not -gap <= begin <= min(end + hold, max(end, stated) + gap):
            begin = end
        end = begin + min(frame.duration or max(begin - last, 0) or period, hold)
        health.end = float(end * unit)
        yield frame, begin * unit, end * unit


def _sampled(
    frames: Iterable[tuple[av.VideoFrame, Fraction, Fraction]], rate: int, padded: bool
) -> Iterator[tuple[av.VideoFrame, int]]:
    """Yields frames with the number of ticks, of 1 / rate seconds, that they are shown, if any.

    The first frame is shown from time zero if `padded`, otherwise from its own time.
    """

    def nearest(time: Fraction) -> int:
        return math.floor(time * rate + Fraction(1, 2))

    shown, start, tick, end = None, 0, 0, Fraction(0)
    for frame, begin, end in frames:  # noqa: B007
        if shown is None and not padded:
            start = tick = max(nearest(begin), 0)
        if shown is not None and nearest(begin) > tick:
            yield shown, nearest(begin) - tick
            tick = nearest(begin)
        shown = frame
    if shown is not None and (nearest(end) > tick or tick == start):
        yield shown, max(nearest(end) - tick, 1)


def _filled(images: Iterable[tuple[np.ndarray, int]], window: Window) -> Iterator[np.ndarray]:
    """Fills windows with images, uint8 [size, size, 3], each shown for a number of ticks."""
    pixels, filled = np.zeros(window.shape, np.uint8), 0
    for image, ticks in images:
        while ticks:
            taken = min(ticks, window.frames - filled)
            pixels[filled : filled + taken] = image
            filled, ticks = filled + taken, ticks - taken
            if filled == window.frames:
                yield pixels
                pixels, filled = np.zeros(window.shape, np.uint8), 0
    if filled:
        if window.fill == "last":
            pixels[filled:] = pixels[filled - 1]
        yield pixels
