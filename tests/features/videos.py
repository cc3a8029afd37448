"""Writes small video files for tests, and decodes them with the ffmpeg command."""

import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

CLOCK = Fraction(1, 90_000)  # the time base of frames


def ffmpeg() -> str:
    """Returns the ffmpeg command; skips the test if there is none."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return shutil.which("ffmpeg") or pytest.skip("compares with ffmpeg, which isn't installed")


def published(path: Path, rate: int, size: int) -> np.ndarray:
    """Returns frames as published, uint8 [frames, size, size, 3], decoded by ffmpeg."""
    scale = f"trunc(iw*{size}/min(iw\\,ih)):trunc(ih*{size}/min(iw\\,ih))"
    filters = f"fps={rate},scale={scale},crop={size}:{size}"
    command = [ffmpeg(), "-v", "error", "-threads", "1", "-i", str(path), "-vf", filters]
    command += ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    pixels = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, size, size, 3)


def textures(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Makes textures that differ from each other, uint8 [height, width, 3]."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3))
    smooth = noise.repeat(4, 0).repeat(4, 1)[:height, :width].astype(np.uint8)
    return [np.roll(smooth, 3 * index, axis=1) for index in range(count)]


def greys(levels: Iterable[float], width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Makes uniform pictures."""
    return [np.full((height, width, 3), level, np.uint8) for level in levels]


def write(
    path: Path,
    pictures: Sequence[np.ndarray],
    times: Iterable[float] | None = None,
    *,
    rate: float | Fraction = 24,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    format: str | None = None,
    sound: float = 0.0,
    start: float = 0.0,
) -> Path:
    """Writes a video of `pictures` at `times`, or at `rate`, with `sound` seconds of sound.

    `options` are for the codec, `container` for the format; `start` shifts all times.
    """
    spaced = times is not None
    if times is None:
        times = [float(index / Fraction(rate)) for index in range(len(pictures))]
    with av.open(str(path), "w", format=format, container_options=container or {}) as file:
        stream: Any = file.add_stream(codec, rate=Fraction(rate))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.options = pix_fmt, options or {}
        if codec == "libx264" and not options:
            stream.options = {"preset": "ultrafast", "crf": "1"}
        if spaced:
            stream.codec_context.time_base = CLOCK
        audio = file.add_stream("aac", rate=8000, layout="mono") if sound else None
        packets: list[Any] = []
        for picture, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round((time + start) / CLOCK), CLOCK
            packets += stream.encode(frame)
        packets += stream.encode()
        for packet in packets:
            packet.duration = round(1 / (Fraction(rate) * packet.time_base))
        if audio:
            silence = np.zeros((1, round(sound * 8000)), np.float32)
            samples = av.AudioFrame.from_ndarray(silence, "fltp", "mono")
            samples.sample_rate, samples.pts = 8000, round(start * 8000)
            packets += [*audio.encode(samples), *audio.encode()]
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        file.mux(packets)
    return path


def packets(path: Path) -> list[tuple[int, int]]:
    """Returns the position and size of the packets of a file's video."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        return [(packet.pos, packet.size) for packet in packets if packet.pos is not None]


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Overwrites bytes of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def turn(path: Path, matrix: Sequence[int]) -> Path:
    """Gives an MP4's video a display matrix, [a, b, c, d], as phones do."""
    a, b, c, d = matrix
    one = 1 << 16
    packed = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    overwrite(path, path.read_bytes().index(b"tkhd") + 44, packed)
    return path
