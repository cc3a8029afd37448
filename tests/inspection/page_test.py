"""Drawings, frames and histograms show their data."""

import base64
import io
import re
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vtmask.inspection import page, terminal
from vtmask.inspection.clips import ShownClip


@given(st.integers(1, 6), st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_paths_cover_the_squares_of_their_kind(columns: int, kinds: list[int]) -> None:
    cells = np.resize(kinds, (-(-len(kinds) // columns), columns))
    drawing = page.squares(cells)
    drawn = np.zeros((drawing.rows, drawing.columns), int)
    for kind, path in drawing.paths.items():
        for x, y, length, back in re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", path):
            assert length == back
            drawn[int(y), int(x) : int(x) + int(length)] += kind
    np.testing.assert_array_equal(drawn, cells)


@given(st.lists(st.integers(0, 500), min_size=1))
def test_a_histogram_counts_every_length(lengths: list[int]) -> None:
    lines = [line.split() for line in terminal.histogram(np.array(lengths))]
    assert len(lines) <= 12
    assert sum(int(line[-1]) for line in lines) == len(lengths)
    for one, other in pairwise(lines):
        assert int(one[0].split("–")[-1]) + 1 == int(other[0].split("–")[0])


@pytest.mark.parametrize(
    ("seconds", "count", "begins"),
    [
        ((2, 5), 3, [2, 3, 4]),
        ((1, 2.5), 3, [1, 1.5, 2]),
        ((2, 6), 2, [2, 4]),
        ((0.75, 3), 3, [0.75, 1.5, 2.25]),
        ((6.5, 7.5), 4, [6.5, 6.75, 7, 7.25]),
        ((6, 10), 4, [6, 7, 7.75, 7.75]),  # the video ends earlier
    ],
)
def test_every_feature_has_a_frame(
    tmp_path: Path, seconds: tuple[float, float], count: int, begins: list[float]
) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=4)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for i in range(32):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 7 * i, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    clip = ShownClip("v", seconds, path, "ordinary", [False] * count, [])
    frames, problem = page.frames(clip)
    assert not problem
    jpegs = [base64.b64decode(frame.uri.split(",")[1]) for frame in frames]
    images = [Image.open(io.BytesIO(jpeg)) for jpeg in jpegs]
    levels = [np.asarray(image).mean() for image in images]
    np.testing.assert_allclose(levels, [4 * 7 * begin for begin in begins], atol=3)
