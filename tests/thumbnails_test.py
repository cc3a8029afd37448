"""Thumbnails show the right frames, upright, from anywhere in the file."""

import base64
import io
import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from vtmask import thumbnails
from vtmask.errors import UserError
from vtmask.thumbnails import Thumbnail


def picture(thumbnail: Thumbnail) -> np.ndarray:
    data = base64.b64decode(thumbnail.uri.removeprefix("data:image/jpeg;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes a minute at two frames a second. Frame n has level 2 n; keyframes are 8 s apart."""
    path = tmp_path_factory.mktemp("videos") / "minute.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=2, options={"g": "16", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for i in range(120):
            pixels = np.full((64, 128, 3), 2 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        ([0, 0.5, 1], [0, 0.5, 1]),
        ([0.4, 0.4, 0.6], [0.5, 0.5, 1]),  # the first frame at or after the time
        ([3, 40, 40.5, 58], [3, 40, 40.5, 58]),
        ([58, 59.5, 70, 80], [58, 59.5, 59.5, 59.5]),  # the last frame
        ([100], [59.5]),
    ],
)
def test_frames_show_their_seconds(video: Path, seconds: list[float], shown: list[float]) -> None:
    frames = thumbnails.at(video, seconds, 32)
    assert [frame.second for frame in frames] == seconds
    levels = [picture(frame).mean() for frame in frames]
    np.testing.assert_allclose(levels, [4 * second for second in shown], atol=1.9)
    assert picture(frames[0]).shape == (32, 64, 3)


def test_a_stretch_is_covered_evenly(video: Path) -> None:
    frames = thumbnails.evenly_spaced(video, 10, 50, 4, 32)
    assert [frame.second for frame in frames] == [15, 25, 35, 45]
    assert [frame.second for frame in thumbnails.evenly_spaced(video, 10, 10, 4, 32)] == [10]


def test_frames_of_a_rotated_video_are_upright(video: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.mp4"
    with av.open(str(turned), "w") as container:
        stream = container.add_stream("libx264", rate=2)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        pixels = np.zeros((64, 128, 3), np.uint8)
        pixels[:, :64] = 255  # its left half is white
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    ffmpeg, phone = imageio_ffmpeg.get_ffmpeg_exe(), tmp_path / "phone.mp4"
    command = [ffmpeg, "-v", "error", "-display_rotation", "-90", "-i", str(turned)]
    subprocess.run([*command, "-c", "copy", str(phone)], check=True)
    upright = subprocess.run(
        [ffmpeg, "-v", "error", "-i", str(phone), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        check=True,
        capture_output=True,
    ).stdout
    expected = np.frombuffer(upright, np.uint8).reshape(-1, 128, 64, 3)[0]
    [frame] = thumbnails.at(phone, [0], 128)
    np.testing.assert_allclose(picture(frame), expected, atol=20)


def test_errors_are_one_line(video: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^gone\.mp4: No such file or directory$"):
        thumbnails.at(tmp_path / "gone.mp4", [0], 32)
    with pytest.raises(UserError, match=r"^minute\.mkv: ends at 60\.0 s$"):
        thumbnails.evenly_spaced(video, 61, None, 4, 32)
    silent = tmp_path / "sound.wav"
    with av.open(str(silent), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(UserError, match=r"^sound\.wav: has no video stream$"):
        thumbnails.at(silent, [0], 32)
