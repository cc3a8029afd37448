"""Streams parts of videos as MP4 that every browser plays: H.264 and AAC.

    python -m vtmask.search.clips VIDEO START [END] > clip.mp4

It runs as a program, because a file that crashes a decoder must not end the server, and a viewer
may leave at any time.
"""

import contextlib
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.filter import Graph
from av.video.frame import PictureType

from vtmask.features.squares import turns

_CHUNK = 1 << 16
_HIGHEST = 720  # pixels
_DEFAULT_RATE = 25  # frames a second if the file states none
_CLOCK = Fraction(1, 90_000)
_SOUND_RATE = 48_000
# Fragments can be played as they arrive.
_CONTAINER = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_VIDEO = {"preset": "veryfast", "crf": "23", "bf": "0"}  # B-frames would shift times


def stream(path: str | Path, start: float, end: float | None = None) -> Iterator[bytes]:
    """Yields the bytes of an MP4 of a part of a video; nothing if none of it can be decoded.

    Args:
      start, end: in seconds from the video's start; an `end` of None is the video's end.
    """
    times = [str(time) for time in (start, end) if time is not None]
    command = [sys.executable, "-m", __name__, str(path), *times]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            while chunk := process.stdout.read(_CHUNK):
                yield chunk
        finally:
            process.kill()


def write(path: str, start: float, end: float, out: Any) -> None:
    """Writes a part of a video to a file object that need not be seekable."""
    with (
        av.open(f"file:{path}", metadata_errors="replace") as source,
        av.open(out, "w", format="mp4", container_options=_CONTAINER) as target,
    ):
        pictures, sound = source.streams.best("video"), source.streams.best("audio")
        if pictures is None:
            return
        begin = start + (source.start_time or 0) / av.time_base
        size = _size(source, pictures, begin)
        encoders: dict[int, _Pictures | _Sound] = {
            pictures.index: _Pictures(target, pictures, size)
        }
        if sound is not None:
            encoders[sound.index] = _Sound(target)
        left = set(encoders)
        for stream, frame in _frames(source, [pictures, sound] if sound else [pictures], begin):
            time = frame.time - begin
            if 0 <= time < end - start:
                target.mux(encoders[stream].encode(frame, time))
            elif time >= end - start:
                left.discard(stream)
            if not left:
                break
        for encoder in encoders.values():
            target.mux(encoder.finish())


def _frames(source: Any, streams: Sequence[Any], begin: float) -> Iterator[tuple[int, Any]]:
    """Yields stream indices and frames from the key frame before `begin` on.

    Skips what can't be decoded.
    """
    source.seek(round(begin * av.time_base), backward=True)
    packets = source.demux(streams)
    while True:
        try:
            packet = next(packets)
            frames = packet.decode()
        except (StopIteration, av.EOFError):
            return
        except av.FFmpegError:
            continue
        for frame in frames:
            if frame.pts is None:
                frame.pts = frame.dts
            if frame.time is not None:
                yield packet.stream_index, frame


def _size(source: Any, pictures: Any, begin: float) -> tuple[int, int]:
    """Returns the clip's width and height: even, upright, no higher than `_HIGHEST`."""
    _, frame = next(_frames(source, [pictures], begin))
    upright = _Filters([*turns(frame), ("format", "yuv420p")])(frame)
    shrunk = min(_HIGHEST / upright.height, 1)
    width, height = (max(round(n * shrunk / 2) * 2, 2) for n in (upright.width, upright.height))
    return width, height


class _Filters:
    """Applies FFmpeg's filters to frames of any size."""

    def __init__(self, filters: Sequence[tuple[str, str | None]]):
        self.filters = filters
        self.source, self.graph = "", Graph()

    def __call__(self, frame: av.VideoFrame) -> Any:
        source = (
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1"
        )
        if source != self.source:
            self.source, self.graph = source, Graph()
            filters = [("buffer", source), *self.filters, ("buffersink", None)]
            self.graph.link_nodes(*(self.graph.add(*filter) for filter in filters)).configure()
        self.graph.push(frame)
        return self.graph.pull()


class _Pictures:
    """Encodes the pictures of a clip."""

    def __init__(self, target: Any, stream: Any, size: tuple[int, int]):
        self.stream = target.add_stream("libx264", rate=stream.guessed_rate or _DEFAULT_RATE)
        self.stream.width, self.stream.height = size
        self.stream.pix_fmt, self.stream.options = "yuv420p", _VIDEO
        self.stream.codec_context.time_base = _CLOCK
        self.filters: _Filters | None = None
        self.last = -1

    def encode(self, frame: av.VideoFrame, time: float) -> Any:
        """Returns packets; none for a frame that is not later than the one before."""
        pts = round(time / _CLOCK)
        if pts <= self.last:
            return []
        self.last = pts
        if self.filters is None:
            scale = f"{self.stream.width}:{self.stream.height}"
            self.filters = _Filters([*turns(frame), ("scale", scale), ("format", "yuv420p")])
        shown = self.filters(frame)
        shown.pts, shown.time_base, shown.pict_type = pts, _CLOCK, PictureType.NONE
        return self.stream.encode(shown)

    def finish(self) -> Any:
        return self.stream.encode() if self.last >= 0 else []


class _Sound:
    """Encodes the sound of a clip."""

    def __init__(self, target: Any):
        self.stream = target.add_stream("aac", rate=_SOUND_RATE, layout="stereo")
        self.resampler = av.AudioResampler("fltp", "stereo", _SOUND_RATE)
        self.next: int | None = None

    def encode(self, frame: av.AudioFrame, time: float) -> Any:
        frame.pts = None
        if self.next is None:
            self.next = round(time * _SOUND_RATE)
        return [packet for part in self.resampler.resample(frame) for packet in self._encode(part)]

    def _encode(self, frame: av.AudioFrame) -> Any:
        assert self.next is not None
        frame.pts, frame.time_base = self.next, Fraction(1, _SOUND_RATE)
        self.next += frame.samples
        return self.stream.encode(frame)

    def finish(self) -> Any:
        return self.stream.encode() if self.next is not None else []


if __name__ == "__main__":
    _, video, *times = sys.argv
    with contextlib.suppress(BrokenPipeError):  # the viewer has left
        write(video, float(times[0]), float(times[1]) if times[1:] else math.inf, sys.stdout.buffer)
