"""Video files to uint8 frames, a window at a time."""

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

_DEFAULT_RATE = 25  # frames a second where nothing says how many; ffmpeg's
_LONGEST_GAP = 10  # seconds that time may jump in formats that allow for jumps; ffmpeg's
_JITTER = 0.1  # seconds that time may go back in these; ffmpeg's
_LONGEST_HOLD = 3600  # seconds that a picture may stay, whatever timestamps say
_PICTURES_PER_SECOND = 8


class DamagedVideo(UserError):
    """A video whose windows are not all as they were recorded; raised after the last of them."""


def windows(path: str | Path, window: Window) -> Iterator[np.ndarray]:
    """Decodes a video into windows, uint8 `window.shape`.

    Frames are those of the published preprocessing, the command

        ffmpeg -i PATH -vf fps=RATE,scale=WIDTH:HEIGHT,crop=SIZE:SIZE -pix_fmt rgb24 -f rawvideo -

    where SIZE is the picture's short side after `scale`, and the long one's is rounded down: tick t
    of the frame rate shows the last frame whose time rounds to t / RATE or less. Time zero is the
    file's, or the first frame's if nothing but video is in it. Pictures are turned upright as their
    metadata say, pixels taken for square. The last window is filled up. Memory does not grow with
    the video's length.

    What is damaged is left out: a packet that can't be decoded is covered by the frame before, and
    an error of the file ends the video. A time that can't be true (a jump of more than 10 seconds
    where the format allows for jumps, one past the end that the file states, or of more than an
    hour) is not believed; time goes on.

    Raises:
      DamagedVideo: after the last window, if some of the video is lost; says what.
      UserError: the file is missing, is no video, or none of it can be decoded.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # a pipe might never end
        raise UserError(f"{path}: not a file")
    health = _Health()
    try:
        # "file:" as a name may begin like a protocol's; "-genpts" as that reads ahead unboundedly;
        # "replace" as not all metadata are UTF-8.
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
        raise UserError(f"{path}: no video frames in it; {losses or 'replace it'}")
    if losses:
        raise DamagedVideo(f"{path}: damaged: {losses}")


def pictures(path: str | Path, times: Sequence[float], size: int) -> list[np.ndarray]:
    """What is on screen at each of the times, give or take 1 / 16 s; at the end, the last frame.

    Args:
      times: in seconds, in order.
      size: height and width of a picture.

    Returns:
      uint8 [size, size, 3] each.

    Raises:
      UserError: as `windows`, but of what is damaged the pictures are those that are left.
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
    """The one that ffmpeg takes: the largest, the default one before others."""
    streams = [s for s in container.streams.video if Disposition.attached_pic not in s.disposition]
    if not streams:
        raise UserError(f"{path}: no video stream in it; expected a video file")
    streams = [stream for stream in streams if stream.codec_context]
    if not streams:
        raise UserError(f"{path}: cannot be decoded: unknown codec; convert it to H.264")
    default = Disposition.default
    return max(streams, key=lambda s: s.width * s.height + 5_000_000 * (default in s.disposition))


@dataclasses.dataclass
class _Health:
    """What became of a video.

    Attributes:
      packets, undecodable: how many were read, and how many of these gave an error, the last of
        which is `reason`.
      frames, corrupt: how many were decoded, and how many of these with errors in them.
      end: of the last frame, in seconds.
      error: why the file couldn't be read further.
      read, stated: the end of the last packet and the one in the file's header, in seconds.
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
        """What is lost, in words."""
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
    """The stream's frames, in the order in which they are shown."""
    stream.codec_context.thread_count = 1  # videos are decoded side by side, one a core
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
    """The stream's packets, as far as they can be read, and None, which empties a decoder."""
    # Trusted are durations that a file states, not those found by last timestamps or bit rates: of
    # streams with an index (MP4, AVI), and of Matroska, which has one duration for all streams, so
    # that all are looked at.
    looked_at: list[Stream] = [stream]
    if (stream.frames or "mp4" in container.format.name) and stream.duration and stream.time_base:
        health.stated = float(stream.duration * stream.time_base)
    elif "matroska" in container.format.name and container.duration and not stream.duration:
        health.stated, looked_at = container.duration / av.time_base, [*container.streams]
    try:
        for packet in container.demux(looked_at):
            if not packet.size:  # AVI has such, for a picture that stays
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
    except IndexError:  # PyAV's, at the end of a file in the middle of which a stream turned up
        pass
    yield None


def _stamped(
    frames: Iterable[av.VideoFrame],
) -> Iterator[tuple[av.VideoFrame, int | None]]:
    """Frames with their pts, or their dts while fewer of these came out of order, as in ffmpeg."""
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
    """Frames with the times at which they begin and end, in seconds from time zero.

    A timestamp is believed if it can be true. Those of frames that come late stay as they are.
    """
    unit = stream.time_base or Fraction(1, 90_000)
    second = 1 / unit
    leaps = FormatFlags.ts_discont in FormatFlags(container.format.flags)
    if leaps:  # as ffmpeg does, which here leaves out streams that are not decoded
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
    """Frames with how many ticks of 1 / rate seconds they are shown; those with none left out.

    The first is shown from time zero on if `padded`, and from its own else.
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
    """Windows of images, uint8 [size, size, 3], each of them shown for some ticks."""
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
