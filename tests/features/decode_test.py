import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.stream import Disposition, Stream
from features.videos import greys, overwrite, packets, published, textures, turn, write

from vtmask.errors import UserError
from vtmask.features import Window, create, decode, extract, windows
from vtmask.features.decode import DamagedVideo, pictures

CLOCKWISE = (0, 1, -1, 0)  # a display matrix


def decoded(
    path: Path, rate: int, size: int = 32, interpolation: Literal["bicubic", "area"] = "bicubic"
) -> np.ndarray:
    """Returns all frames except the padding of the last window."""
    return np.concatenate(list(windows(path, Window(1, rate, size, interpolation))))


def salvaged(path: Path, rate: int, size: int = 32) -> tuple[np.ndarray, str]:
    """Returns all frames of a damaged video, and the message about what is lost."""
    frames = []
    with pytest.raises(DamagedVideo) as error:
        for window in windows(path, Window(1, rate, size)):
            frames.append(window)
    return np.concatenate(frames), str(error.value)


def levels(frames: np.ndarray) -> list[int]:
    """Returns the brightness of uniform frames in the units of 10 in which tests write them."""
    return (frames.mean((1, 2, 3)) / 10).round().astype(int).tolist()


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error:
        list(windows(path, Window(8, 8, 32)))
    assert not isinstance(error.value, DamagedVideo)
    message = str(error.value)
    assert path.name in message and "\n" not in message
    return message


# Equality with the ffmpeg command


def assert_published(path: Path, rate: int = 30, size: int = 40) -> None:
    np.testing.assert_array_equal(decoded(path, rate, size), published(path, rate, size))


@pytest.mark.parametrize("rate", [8, 24, 25, Fraction(30000, 1001), 30, 50, 60])
def test_frame_rates_match_ffmpeg(tmp_path: Path, rate: Fraction) -> None:
    assert_published(write(tmp_path / "a.mp4", textures(int(rate)), rate=rate))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rates_match_ffmpeg(tmp_path: Path, suffix: str) -> None:
    times = [0, 0.01, 0.02, 0.3, 0.31, 0.7, 0.75, 0.758, 1.4]
    assert_published(write(tmp_path / f"a.{suffix}", textures(9), times))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_late_and_early_starts_match_ffmpeg(tmp_path: Path, suffix: str) -> None:
    late = [0.5 + index / 24 for index in range(12)]
    assert_published(write(tmp_path / f"alone.{suffix}", textures(12), late))
    assert_published(write(tmp_path / f"late.{suffix}", textures(12), late, sound=1.5))
    assert_published(write(tmp_path / f"offset.{suffix}", textures(12), start=100, sound=1.5))


def test_time_starts_with_the_sound(tmp_path: Path) -> None:
    video = write(tmp_path / "a.mp4", greys([50, 100]), [0.5, 1.0], rate=4, sound=2.0)
    assert levels(decoded(video, 4)) == [5, 5, 5, 5, 10]


@pytest.mark.parametrize(
    "name, codec",
    [("a.avi", "mpeg4"), ("a.mpg", "mpeg2video"), ("a.flv", "libx264"), ("a.webm", "libvpx")],
)
def test_formats_match_ffmpeg(tmp_path: Path, name: str, codec: str) -> None:
    assert_published(write(tmp_path / name, textures(30), rate=25, codec=codec))


def test_frames_stored_out_of_order_match_ffmpeg(tmp_path: Path) -> None:
    options = {"bf": "3", "preset": "fast", "b-pyramid": "normal"}
    for suffix in ("mp4", "avi", "h264"):
        assert_published(write(tmp_path / f"a.{suffix}", textures(30), options=options))


@pytest.mark.parametrize("width, height", [(35, 37), (37, 35), (1, 1), (3, 1), (160, 30), (400, 8)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
def test_sizes_match_ffmpeg(tmp_path: Path, width: int, height: int, pix_fmt: str) -> None:
    pictures = textures(3, width, height)
    video = write(tmp_path / "a.nut", pictures, rate=8, codec="rawvideo", pix_fmt=pix_fmt)
    assert_published(video, rate=8)


@pytest.mark.parametrize(
    "pix_fmt", ["yuvj420p", "yuv422p10le", "yuva420p", "gray", "gray16le", "rgb24", "bgra"]
)
def test_colours_match_ffmpeg(tmp_path: Path, pix_fmt: str) -> None:
    video = write(tmp_path / "a.nut", textures(3), rate=8, codec="rawvideo", pix_fmt=pix_fmt)
    assert_published(video, rate=8)


@pytest.mark.parametrize("tags", ["colormatrix=bt709", "colormatrix=bt2020nc", "range=pc"])
def test_tagged_colours_match_ffmpeg(tmp_path: Path, tags: str) -> None:
    assert_published(write(tmp_path / "a.mp4", textures(3), options={"x264-params": tags}))


def test_unknown_colours_are_treated_as_untagged(tmp_path: Path) -> None:
    options = {"crf": "1", "preset": "ultrafast"}
    plain = write(tmp_path / "a.mp4", textures(3), options=options)
    options["x264-params"] = "colormatrix=ycgco"
    odd = write(tmp_path / "b.mp4", textures(3), options=options)
    np.testing.assert_array_equal(decoded(plain, 8), decoded(odd, 8))


@pytest.mark.parametrize(
    "matrix",
    [
        *[CLOCKWISE, (-1, 0, 0, -1), (0, -1, 1, 0)],
        *[(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)],
    ],
)
def test_rotated_and_mirrored_videos_match_ffmpeg(
    tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    assert_published(turn(write(tmp_path / "a.mp4", textures(6, 64, 46)), matrix))


def test_interlaced_frames_and_oblong_pixels_match_ffmpeg(tmp_path: Path) -> None:
    for name, option in (("a.mp4", "tff=1"), ("b.mp4", "sar=4/3")):
        assert_published(write(tmp_path / name, textures(6), options={"x264-params": option}))


def test_the_pancake_video_matches_ffmpeg(reference_dir: Path) -> None:
    assert_published(reference_dir / "videos" / "flipping_a_pancake.mkv", size=224)


def test_a_corrupted_video_matches_ffmpeg(reference_dir: Path) -> None:
    video = reference_dir / "videos" / "corrupted.mp4"
    frames, message = salvaged(video, 30, 224)
    np.testing.assert_array_equal(frames, published(video, 30, 224))
    assert "1 of 50 packets can't be decoded" in message


# Times


def test_frames_are_sampled_by_their_timestamps(tmp_path: Path) -> None:
    video = write(tmp_path / "a.mp4", greys([40, 80, 120, 160]), [0.0, 0.5, 0.75, 1.75], rate=4)
    assert levels(decoded(video, 4)) == [4, 4, 8, 12, 12, 12, 12, 16]


def test_higher_rates_are_subsampled(tmp_path: Path) -> None:
    video = write(tmp_path / "a.mp4", greys(np.arange(24) * 10), np.arange(24) / 24)
    assert levels(decoded(video, 8)) == [*range(1, 24, 3)]  # 1/24 s rounds to tick 0, 2/24 to 1


def test_pictures_are_resized_once_and_only_if_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resized: list[av.VideoFrame] = []
    resize = decode.Squares.__call__

    def counted(squares: decode.Squares, frame: av.VideoFrame) -> np.ndarray:
        resized.append(frame)
        return resize(squares, frame)

    monkeypatch.setattr(decode.Squares, "__call__", counted)
    slow = write(tmp_path / "a.mp4", greys([50, 100]), [0, 10])
    assert len(decoded(slow, 30)) > 300 and len(resized) == 2
    resized.clear()
    fast = write(tmp_path / "b.mp4", greys(range(0, 240, 4)), rate=60)
    assert len(decoded(fast, 2)) == len(resized) == 2


def test_a_picture_may_last_for_minutes(tmp_path: Path) -> None:
    for suffix in ("mp4", "mkv"):
        video = write(tmp_path / f"a.{suffix}", greys([50, 100, 150]), [0, 300, 301], rate=1)
        assert levels(decoded(video, 1)) == [5] * 300 + [10, 15]


def test_raw_streams_have_their_stated_rate(tmp_path: Path) -> None:
    video = write(tmp_path / "a.h264", greys([50, 100, 150, 200]), rate=2)
    assert levels(decoded(video, 4)) == [5, 5, 10, 10, 15, 15, 20, 20]


def test_raw_streams_without_a_rate_have_25_frames_a_second(tmp_path: Path) -> None:
    pictures = greys(range(0, 250, 5))
    video = write(tmp_path / "a.mjpeg", pictures, rate=8, codec="mjpeg", pix_fmt="yuvj420p")
    assert len(decoded(video, 25)) == 50


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("starts", [(0, 93_600), (93_600, 0), (0, 0), (95_442, 0), (0, 3)])
def test_time_continues_across_jumps_in_streams(tmp_path: Path, starts: tuple[int, int]) -> None:
    parts = [
        write(tmp_path / f"{index}.ts", textures(24), start=start, sound=1.0)
        for index, start in enumerate(starts)
    ]
    video = joined(tmp_path / "a.ts", *parts)
    assert_published(video)
    assert len(decoded(video, 30)) < 130


def with_cluster_at(path: Path, milliseconds: int) -> Path:
    """Sets the time of a Matroska file's third cluster."""
    data = path.read_bytes()
    at = -1
    for _ in range(3):
        at = data.index(b"\x1f\x43\xb6\x75", at + 1)
    at = data.index(b"\xe7", at) + 1
    length = data[at] & 0x7F
    overwrite(path, at + 1, milliseconds.to_bytes(length, "big"))
    return path


@pytest.mark.parametrize("live", ["0", "1"])
def test_impossible_times_are_ignored(tmp_path: Path, live: str) -> None:
    clusters = {"cluster_time_limit": "1000", "live": live}
    pictures, options = greys(range(0, 240, 4)), {"g": "5"}
    times = [0.9 + index / 10 for index in range(60)]  # clusters' times then take two bytes
    video = write(tmp_path / "a.mkv", pictures, times, rate=10, options=options, container=clusters)
    expected = decoded(video, 10)
    with_cluster_at(video, 65_000)
    actual = decoded(video, 10)
    if live == "0":  # the file states how long it is
        assert np.abs(levels(actual) - np.array(levels(expected))).max() <= 1
    else:
        assert len(actual) < 700


def test_no_picture_lasts_for_more_than_an_hour(tmp_path: Path) -> None:
    video = write(tmp_path / "a.mkv", greys([50, 100, 150]), [0, 1, 93_600], rate=1)
    assert levels(decoded(video, 1)) == [5, 10, 15]


def test_frames_out_of_order_are_not_shown_late(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height = 64, 48
        stream.options = {"preset": "ultrafast", "crf": "1"}
        encoded = []
        for picture in greys([50, 100, 150, 200]):
            encoded += stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
        for packet, time in zip([*encoded, *stream.encode()], [5, 7, 4, 9], strict=True):
            packet.dts, packet.pts = encoded.index(packet) if packet in encoded else 3, time
            packet.dts -= 10
            file.mux(packet)
    assert levels(decoded(path, 10)) == [5, 5, 15, 15, 20]


def test_ten_hours_take_no_more_memory_than_one(tmp_path: Path) -> None:
    for hours in (1, 10):
        times = np.arange(360 * hours) * 10
        write(tmp_path / f"{hours}.mp4", greys(times % 250, 32, 32), times.tolist())
    code = """if True:
        import resource, sys, tracemalloc
        from vtmask.features import Window, windows
        tracemalloc.start()
        for path in sys.argv[1:]:
            tracemalloc.reset_peak()
            count = sum(1 for _ in windows(path, Window(100, 1, 32)))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(count, tracemalloc.get_traced_memory()[1], peak)
    """
    command = [sys.executable, "-c", code, f"{tmp_path}/1.mp4", f"{tmp_path}/10.mp4"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    (short, python, total), (long, python_long, total_long) = (
        map(int, line.split()) for line in run.stdout.splitlines()
    )
    assert (short, long) == (36, 360)
    assert python_long < python + 1e6
    assert total_long < total + 4096  # KiB, for the file's index of packets


# Windows


@pytest.mark.parametrize("fill, last", [("black", [15, 0, 0, 0]), ("last", [15] * 4)])
def test_last_window_is_filled_up(
    tmp_path: Path, fill: Literal["black", "last"], last: list[int]
) -> None:
    video = write(tmp_path / "a.mp4", greys(np.repeat([50, 100, 150], [6, 2, 1])), rate=2)
    actual = [levels(window) for window in windows(video, Window(4, 2, 32, fill=fill))]
    assert actual == [[5] * 4, [5, 5, 10, 10], last]


@pytest.mark.parametrize("width, height", [(64, 48), (48, 64), (64, 64), (70, 30), (9000, 2)])
@pytest.mark.parametrize("interpolation", ["bicubic", "area"])
def test_windows_are_square(
    tmp_path: Path, width: int, height: int, interpolation: Literal["bicubic", "area"]
) -> None:
    pictures = greys([90] * 8, width, height)
    video = write(tmp_path / "a.nut", pictures, rate=8, codec="rawvideo")
    (window,) = windows(video, Window(8, 8, 224, interpolation))
    assert window.shape == (8, 224, 224, 3) and window.dtype == np.uint8
    np.testing.assert_allclose(window, 90, atol=3)


def test_windows_are_not_overwritten(tmp_path: Path) -> None:
    video = write(tmp_path / "a.mp4", greys([50, 100, 150, 200]), rate=1)
    first, second = windows(video, Window(2, 1, 32))
    assert levels(first) == [5, 10] and levels(second) == [15, 20]


def test_portrait_videos_of_phones_are_upright(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = 200  # the left half, which becomes the top
    video = turn(write(tmp_path / "a.mp4", [picture] * 4), CLOCKWISE)
    frame = decoded(video, 8)[0].mean(-1)
    assert frame[:14].min() > 150 and frame[18:].max() < 50


def test_pictures_may_change_size(tmp_path: Path) -> None:
    sizes = [(64, 48), (96, 64), (32, 64)]
    parts = [
        write(tmp_path / f"{index}.h264", greys([50 + 50 * index] * 8, *size), rate=8)
        for index, size in enumerate(sizes)
    ]
    video = joined(tmp_path / "a.h264", *parts)
    assert levels(decoded(video, 8)) == [5] * 8 + [10] * 8 + [15] * 8


def test_area_interpolation_matches_pyav(tmp_path: Path) -> None:
    video = write(tmp_path / "a.mp4", textures(8, 96, 96), rate=8)
    with av.open(str(video)) as container:
        frames = list(container.decode(video=0))
    expected = [f.reformat(48, 48, "rgb24", interpolation="AREA").to_ndarray() for f in frames]
    np.testing.assert_array_equal(decoded(video, 8, 48, interpolation="area"), expected)


def test_the_largest_stream_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    pictures = [greys([level], size, size)[0] for level, size in ((50, 32), (100, 64), (150, 48))]
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("ffv1", rate=8) for _ in pictures]
        for stream, picture in zip(streams, pictures, strict=True):
            stream.height, stream.width = picture.shape[:2]
        for stream, picture in zip(streams, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            file.mux([*stream.encode(frame), *stream.encode()])
    assert set(levels(decoded(path, 8))) == {10}


def test_extract_gives_one_unit_vector_per_second(tmp_path: Path) -> None:
    video = write(tmp_path / "a.mp4", greys(np.arange(60) * 3))
    features = extract(video, create("pixel-statistics-v1"))
    assert features.shape == (3, 512) and features.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(features.astype(np.float32), axis=1), 1, atol=1e-2)


# Damage


def long_video(path: Path, **other: Any) -> Path:
    return write(path, textures(100), rate=10, options={"g": "10", "crf": "20"}, **other)


def test_packets_that_cannot_be_decoded_are_left_out(tmp_path: Path) -> None:
    video = write(tmp_path / "a.mp4", greys(range(0, 240, 10)), rate=8, options={"g": "1"})
    for index in (0, 5, 6, 23):
        at, size = packets(video)[index]
        overwrite(video, at, b"\xff" * size)
    frames, message = salvaged(video, 8)
    assert message == (
        f"{video}: damaged: 4 of 24 packets can't be decoded (Invalid data found when processing "
        "input); their time repeats the frames before"
    )
    shown = [1, 1, 2, 3, 4, 4, 4, *range(7, 23)]
    assert levels(frames) == shown[1:] or levels(frames) == shown


def test_frames_with_errors_are_counted(tmp_path: Path) -> None:
    video = long_video(tmp_path / "a.mkv")
    at, size = packets(video)[20]
    overwrite(video, at + size // 2, b"\x55" * (size // 3))
    frames, message = salvaged(video, 10)
    assert message == f"{video}: damaged: 1 of 100 frames are decoded with errors"
    assert len(frames) == 100


@pytest.mark.parametrize("suffix, flags", [("mp4", "faststart"), ("mp4", "dash"), ("mkv", "")])
def test_the_rest_of_a_truncated_file_is_decoded(tmp_path: Path, suffix: str, flags: str) -> None:
    container = {"movflags": f"{flags}+global_sidx"} if flags else {}
    video = long_video(tmp_path / f"a.{suffix}", sound=10.0, container=container)
    complete = decoded(video, 10)
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 6 // 10])
    frames, message = salvaged(video, 10)
    assert re.search(r"ends after (5|6)\.\d of 10\.\d s", message)
    assert 50 <= len(frames) < 70
    np.testing.assert_array_equal(frames[:-2], complete[: len(frames) - 2])


class FailingDisk:
    """A container that fails after some packets."""

    def __init__(self, container: InputContainer, packets: int):
        self.container, self.packets = container, packets

    def __getattr__(self, name: str) -> object:
        return getattr(self.container, name)

    def __enter__(self) -> "FailingDisk":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def demux(self, streams: list[Stream]) -> Iterator[av.Packet]:
        yield from islice(self.container.demux(streams), self.packets)
        raise av.FFmpegError(errno.EIO, "Input/output error")


def test_a_read_error_ends_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write(tmp_path / "a.mp4", textures(100), rate=10)
    complete, opened = decoded(video, 10), av.open
    monkeypatch.setattr(
        "vtmask.features.decode.av.open", lambda *args, **kw: FailingDisk(opened(*args, **kw), 50)
    )
    frames, message = salvaged(video, 10)
    assert message == (
        f"{video}: damaged: after 5.0 s: Input/output error; ends after 5.0 of 10.0 s"
    )
    np.testing.assert_array_equal(frames, complete[:50])


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "flv", "mov"])
@pytest.mark.parametrize("sound", [0.0, 1.0, 20.0])
def test_complete_files_are_not_reported_as_damaged(
    tmp_path: Path, suffix: str, sound: float
) -> None:
    video = write(tmp_path / f"a.{suffix}", textures(30), rate=10, sound=sound)
    assert 30 <= len(decoded(video, 10)) <= 32


def test_files_without_a_stated_duration_are_not_reported_as_damaged(tmp_path: Path) -> None:
    for name, container in (("a.mkv", {"live": "1"}), ("a.mp4", {"movflags": "empty_moov"})):
        assert len(decoded(long_video(tmp_path / name, container=container), 10)) >= 100


def test_cover_pictures_are_not_reported_as_damage(tmp_path: Path) -> None:
    video = with_cover(tmp_path / "a.mp4", video=True)
    assert set(levels(decoded(video, 8))) == {10}


# Refused files


def with_cover(path: Path, video: bool = False) -> Path:
    """Writes sound with a cover picture and, optionally, a small video."""
    with av.open(str(path), "w") as file:
        sound = file.add_stream("aac", rate=8000, layout="mono")
        pictures = [(file.add_stream("png", rate=1), "rgb24", greys([50], 96, 96)[0])]
        pictures[0][0].disposition = Disposition.attached_pic
        if video:
            pictures.append((file.add_stream("mpeg4", rate=8), "yuv420p", greys([100], 32, 32)[0]))
        for stream, pix_fmt, picture in pictures:
            stream.height, stream.width = picture.shape[:2]
            stream.pix_fmt = pix_fmt
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        file.mux([*sound.encode(silence), *sound.encode()])
        for stream, _, picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            file.mux([*stream.encode(frame), *stream.encode()])
    return path


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        file.mux([*stream.encode(silence), *stream.encode()])
    return path


def directory(path: Path) -> Path:
    path.mkdir()
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def content(data: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return make


def cut_before(mark: bytes, **container: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        data = write(path, textures(3), container=container).read_bytes()
        path.write_bytes(data[: data.index(mark) - 4])
        return path

    return make


def unknown_codec(path: Path) -> Path:
    data = write(path, textures(3)).read_bytes()
    path.write_bytes(data.replace(b"avc1", b"zzz1"))
    return path


def encrypted(path: Path) -> Path:
    scheme = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "0" * 32}
    return write(path, textures(3), container={**scheme, "encryption_kid": "1" * 32})


def all_damaged(path: Path) -> Path:
    write(path, textures(3))
    for at, size in packets(path):
        overwrite(path, at, b"\xff" * size)
    return path


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda path: path, "No such file"),
        (directory, "not a file"),
        (pipe, "not a file"),
        (content(b""), "cannot be decoded"),
        (content(b"Stir the soup.\n" * 100), "cannot be decoded"),
        (content(bytes(range(256)) * 100), "cannot be decoded"),
        (cut_before(b"mdat"), "cannot be decoded"),
        (cut_before(b"moof", movflags="empty_moov+frag_keyframe"), "has no video frames"),
        (sound_only, "has no video stream"),
        (with_cover, "has no video stream"),
        (unknown_codec, "unknown codec"),
        (encrypted, "has no video frames; 3 of 3 packets can't be decoded (encrypted)"),
        (all_damaged, "has no video frames; 3 of 3 packets can't be decoded (Invalid data"),
    ],
)
def test_files_without_a_video_are_refused(
    tmp_path: Path,
    make: Callable[[Path], Path],
    reason: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert reason in refused(make(tmp_path / "a.mp4"))
    assert not [line for line in capfd.readouterr().err.splitlines() if "x264" not in line]


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    video = write(tmp_path / "a.mp4", textures(3))
    video.chmod(0)
    if os.access(video, os.R_OK):
        pytest.skip("this user may read everything")
    assert "Permission denied" in refused(video)


def test_file_names_are_not_read_as_protocols(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.mp4", greys([100] * 8), rate=8)
    (tmp_path / "a.mp4").rename(tmp_path / "How-to: 100%03d?.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(decoded(Path("How-to: 100%03d?.mp4"), 8)) == 8


def test_pictures_are_those_at_the_given_times(tmp_path: Path) -> None:
    video = write(tmp_path / "a.mp4", greys(range(20, 20 + 96)), rate=24)
    levels = [picture.mean() for picture in pictures(video, [0, 1.5, 1.5, 3.5, 9.0], 32)]
    np.testing.assert_allclose(levels, [20, 56, 56, 104, 115], atol=3)


def test_a_damaged_video_gives_the_pictures_before_the_damage(tmp_path: Path) -> None:
    video = write(tmp_path / "a.mkv", greys([50] * 48 + [200] * 48), rate=24)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(DamagedVideo):
        list(windows(video, Window(8, 8, 32)))
    levels = [picture.mean() for picture in pictures(video, [0.5, 3.5], 32)]
    assert levels[0] == pytest.approx(50, abs=3)
