"""Turns decoded frames into upright squares of one size with ffmpeg's filters."""

import math
from contextlib import suppress
from typing import Any

import av
import numpy as np
from av.filter import Graph

from vtmask.features.window import Window

_WIDEST = 64  # maximum aspect ratio; only the middle of a longer strip is resized

_UNSPECIFIED = 2  # a frame's colour space

_SCALING = {
    "bicubic": "flags=bicubic",
    # MPEG and H.264 place chroma on the left; ffmpeg's scale filter must be told so.
    "area": "flags=area:in_chroma_loc=left",
}

_Filter = tuple[str, str | None]  # its name and arguments

# (quarters of a turn, mirrored) → filters that make the picture upright.
_UPRIGHT: dict[tuple[int, bool], list[_Filter]] = {
    (0, False): [],
    (0, True): [("vflip", None)],
    (1, False): [("transpose", "clock")],
    (1, True): [("transpose", "cclock_flip")],
    (2, False): [("hflip", None), ("vflip", None)],
    (2, True): [("hflip", None)],
    (3, False): [("transpose", "cclock")],
    (3, True): [("transpose", "clock_flip")],
}


class Squares:
    """Maps pictures of any size and colour to upright uint8 [size, size, 3]."""

    def __init__(self, window: Window):
        size = window.image_size
        self.filters: list[_Filter] = [
            (
                "scale",
                rf"trunc(iw*{size}/min(iw\,ih)):trunc(ih*{size}/min(iw\,ih))"
                f":{_SCALING[window.interpolation]}",
            ),
            ("format", "rgb24"),
            ("crop", f"{size}:{size}"),
            ("buffersink", None),
        ]
        self.graph, self.built = Graph(), self.filters

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        if frame.colorspace == 8 or frame.colorspace > 9:  # YCgCo, …: swscale has no matrix for it
            frame.colorspace = _UNSPECIFIED
        source = (
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1"
            f":colorspace={frame.colorspace}:range={frame.color_range}"
        )
        filters = [("buffer", source), *_middle(frame), *turns(frame), *self.filters]
        if filters != self.built:  # pictures may change in the middle of a video
            self.graph, self.built = Graph(), filters
            self.graph.threads = 1
            self.graph.link_nodes(*(self.graph.add(*filter) for filter in filters)).configure()
        self.graph.push(frame)
        return self.graph.pull().to_ndarray()


def _middle(frame: av.VideoFrame) -> list[_Filter]:
    """Crops a long strip to what its central square may need; resized, it would be too large."""
    if max(frame.width, frame.height) <= _WIDEST * min(frame.width, frame.height):
        return []
    return [("crop", rf"min(iw\,{_WIDEST}*ih):min(ih\,{_WIDEST}*iw):exact=1")]


def turns(frame: av.VideoFrame) -> list[_Filter]:
    """Returns the filters that make a frame upright; the ffmpeg command inserts the same."""
    angle, mirrored = float(-frame.rotation), False
    with suppress(ValueError):  # PyAV doesn't know all kinds of side data
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        if matrix is not None:
            a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
            angle, mirrored = math.degrees(math.atan2(b, a)), a * d < b * c
    quarters = round(angle / 90)
    if abs(angle - 90 * quarters) >= 1:
        return [("rotate", f"{angle}*PI/180")]
    return _UPRIGHT[quarters % 4, mirrored]
