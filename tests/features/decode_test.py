from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vtmask.errors import UserError
from vtmask.features import Window, create, extract, windows


def write_video(
    path: Path, levels: Iterable[float], times: Iterable[float], width: int = 64, height: int = 48
) -> Path:
    """An MP4 of uniformly grey frames, `levels`, shown from `times` on, in seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1200)
        stream.options = {"preset": "ultrafast", "crf": "1"}
        for level, time in zip(levels, times, strict=True):
            pixels = np.full((height, width, 3), level, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time * 1200), Fraction(1, 1200)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shown(path: Path, rate: int, size: int = 32) -> np.ndarray:
    return np.concatenate(list(windows(path, Window(rate, rate, size))))[
        :, size // 2, size // 2, 0
    ].astype(int)


def test_frames_are_sampled_by_their_timestamps(tmp_path: Path) -> None:
    levels = [40, 80, 120, 160]
    video = write_video(tmp_path / "a.mp4", levels, [0.0, 0.5, 0.75, 1.75])
    expected = [40, 40, 80, 120, 120, 120, 120, 160]
    np.testing.assert_allclose(shown(video, rate=4), expected, atol=3)


def test_higher_rates_are_thinned_out(tmp_path: Path) -> None:
    levels = np.arange(48) * 4 + 30
    video = write_video(tmp_path / "a.mp4", levels, np.arange(48) / 24)
    np.testing.assert_allclose(shown(video, rate=8), levels[::3], atol=3)


def test_last_window_is_filled_with_its_last_frame(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", [50, 100, 150], [0.0, 0.5, 1.0])
    levels = shown(video, rate=2)
    np.testing.assert_allclose(levels, [50, 100, 150, 150], atol=3)


@pytest.mark.parametrize("width, height", [(64, 48), (48, 64), (64, 64), (70, 30)])
def test_windows_are_square(tmp_path: Path, width: int, height: int) -> None:
    video = write_video(tmp_path / "a.mp4", [90] * 24, np.arange(24) / 24, width, height)
    (window,) = windows(video, Window(8, 8, 32))
    assert window.shape == (8, 32, 32, 3) and window.dtype == np.uint8


def test_extract_gives_one_unit_vector_a_second(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", np.arange(60) * 3, np.arange(60) / 24)
    features = extract(video, create("pixel-statistics-v1"))
    assert features.shape == (3, 512) and features.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(features.astype(np.float32), axis=1), 1, atol=1e-2)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", [90] * 24, np.arange(24) / 24)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(video.read_bytes()[:200])
    for path in (broken, tmp_path / "missing.mp4"):
        with pytest.raises(UserError, match=path.name) as error:
            extract(path, create("pixel-statistics-v1"))
        assert "\n" not in str(error.value)


def test_frames_without_timestamps(tmp_path: Path) -> None:
    path = tmp_path / "raw.h264"
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(UserError, match="raw.h264: frames have no timestamps"):
        next(windows(path, Window(8, 8, 32)))


def test_no_video_stream(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(UserError, match="sound.wav: no video stream"):
        next(windows(path, Window(8, 8, 32)))


def test_features_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    class Broken:
        name, size, window = "broken", 4, Window(8, 8, 32)

        def __call__(self, frames: np.ndarray) -> np.ndarray:
            return np.full((len(frames), 4), np.nan, np.float32)

    video = write_video(tmp_path / "a.mp4", [90] * 24, np.arange(24) / 24)
    with pytest.raises(UserError, match="a.mp4: broken features of window 0"):
        extract(video, Broken())
