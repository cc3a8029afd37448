"""Video files to uint8 frames, a window of one second at a time."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from vtmask.errors import UserError
from vtmask.features.extractors import FeatureExtractor

_WINDOWS_PER_CALL = 2  # few enough that PixelStatistics stays in the processor's cache


def extract(path: str | Path, extractor: FeatureExtractor) -> np.ndarray:
    """The features of a video file, float16 [seconds, extractor.size], one row a second.

    Raises:
      UserError: the file cannot be decoded, holds no frames, or its features are not finite.
    """
    seconds = windows(path, extractor.frame_rate, extractor.image_size)
    blocks = []
    while block := list(islice(seconds, _WINDOWS_PER_CALL)):
        blocks.append(extractor(np.stack(block)).astype(np.float16))
    if not blocks:
        raise UserError(f"{path}: no video frames in it; remove it from the list or replace it")
    features = np.concatenate(blocks)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        raise UserError(f"{path}: {extractor.name} features of second {bad[0]} are not finite")
    return features


def windows(path: str | Path, frame_rate: int, image_size: int) -> Iterator[np.ndarray]:
    """Decodes a video into one-second windows, uint8 [frame_rate, image_size, image_size, 3].

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
            ticks = _at_rate(path, container.decode(video=0), frame_rate)
            images = (_to_square(frame, image_size, reformatter) for frame in ticks)
            while window := list(islice(images, frame_rate)):
                window += [window[-1]] * (frame_rate - len(window))
                yield np.stack(window)
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
