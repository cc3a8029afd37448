"""Video files to uint8 frames, a window at a time."""

import dataclasses
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from vtmask.errors import UserError


@dataclasses.dataclass(frozen=True)
class Window:
    """The stretch of video that one feature is of; windows follow each other without a gap.

    Attributes:
      frames: how many it has.
      frame_rate: frames a second.
      image_size: height and width of a frame, the central square of the picture, in pixels.
      interpolation: how frames are resized.
      fill: what a video's last window is filled up with, black frames or its last frame.
    """

    frames: int
    frame_rate: int
    image_size: int
    interpolation: Literal["bicubic", "area"] = "bicubic"
    fill: Literal["black", "last"] = "black"

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.frame_rate

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of its pixels, uint8: [frames, image_size, image_size, 3]."""
        return self.frames, self.image_size, self.image_size, 3


class DamagedVideo(UserError):
    """A video whose windows are not all as they were recorded; raised after the last of them."""


def windows(path: str | Path, window: Window) -> Iterator[np.ndarray]:
    """Decodes a video into windows, uint8 `window.shape`.

    Frames are sampled at multiples of 1 / frame_rate seconds by their timestamps (the frame on
    screen at that time), resized to `image_size` on their short side and cropped in the centre. The
    last window is filled up with its last frame. Memory does not grow with the video's length.

    Raises:
      UserError: the file is missing, has no video stream or cannot be decoded.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise UserError(f"{path}: no video stream in it; expected a video file")
            reformatter = VideoReformatter()  # one for all frames: it keeps its tables
            ticks = _at_rate(path, container.decode(video=0), window.frame_rate)
            images = (_to_square(frame, window.image_size, reformatter) for frame in ticks)
            while taken := list(islice(images, window.frames)):
                taken += [taken[-1]] * (window.frames - len(taken))
                yield np.stack(taken)
    except av.FFmpegError as error:
        raise UserError(f"{path}: cannot be decoded: {error.strerror}") from error


def _at_rate(
    path: str | Path, frames: Iterator[av.VideoFrame], rate: int
) -> Iterator[av.VideoFrame]:
    """The frame on screen at each tick of 1 / rate seconds, from the first frame's time on."""
    shown, begin, end, tick = None, 0.0, 0.0, 0
    for frame in frames:
        if frame.time is None or frame.time_base is None:
            raise UserError(f"{path}: frames have no timestamps; convert it to MP4")
        if shown is None:
            begin = frame.time
        # Half a millisecond of slack, as containers round their timestamps.
        while shown is not None and begin + tick / rate < frame.time - 5e-4:
            yield shown
            tick += 1
        shown = frame
        end = frame.time + (float(frame.duration * frame.time_base) or 1 / rate)
    while shown is not None and begin + tick / rate < end - 5e-4:
        yield shown
        tick += 1


def _to_square(frame: av.VideoFrame, size: int, reformatter: VideoReformatter) -> np.ndarray:
    """RGB pixels of the frame's central square, uint8 [size, size, 3]."""
    scale = size / min(frame.width, frame.height)
    width, height = round(frame.width * scale), round(frame.height * scale)
    pixels = reformatter.reformat(frame, width, height, "rgb24", interpolation="AREA").to_ndarray()
    top, left = (height - size) // 2, (width - size) // 2
    return pixels[top : top + size, left : left + size]
