"""A decoder process may fail in different ways, which `stand_in` scripts imitate."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from features import videos

from vtmask.errors import UserError
from vtmask.features import decode
from vtmask.features.decode import DamagedVideo
from vtmask.features.decoders import Decoder
from vtmask.features.window import Window

WINDOW = Window(frames=8, frame_rate=8, image_size=32)


def stand_in(script: str) -> Sequence[str]:
    """Returns a stand-in decoder's command; `script` may use `pipe` and a black `window`."""
    head = (
        "import os, sys, time\n"
        "import numpy as np\n"
        "from multiprocessing.connection import Connection\n"
        "from vtmask.features.decoders import send_window\n"
        "pipe = Connection(int(sys.argv[1]))\n"
        "window = np.zeros((8, 32, 32, 3), np.uint8)\n"
        "pipe.recv()\n"
    )
    return [sys.executable, "-c", head + script]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return videos.write(tmp_path / "a.mp4", videos.greys(np.arange(60) * 3))


def test_windows_equal_those_decoded_in_this_process(video: Path) -> None:
    with Decoder(WINDOW) as decoder:
        for _ in range(2):
            actual = list(decoder.windows(video))
            np.testing.assert_array_equal(actual, list(decode.windows(video, WINDOW)))


def test_an_error_is_passed_on_and_the_next_video_is_decoded(video: Path, tmp_path: Path) -> None:
    with Decoder(WINDOW) as decoder:
        with pytest.raises(UserError, match="gone.mp4"):
            list(decoder.windows(tmp_path / "gone.mp4"))
        assert len(list(decoder.windows(video))) == 3


def test_a_video_that_is_abandoned_does_not_affect_the_next(video: Path) -> None:
    with Decoder(WINDOW) as decoder:
        left = decoder.windows(video)
        first = next(left)
        left.close()
        actual = list(decoder.windows(video))
    assert len(actual) == 3
    np.testing.assert_array_equal(actual[0], first)


def test_a_crash_is_reported_and_loses_one_video(video: Path) -> None:
    with Decoder(WINDOW, stand_in("os.abort()")) as decoder:
        with pytest.raises(UserError, match=r"a.mp4: the decoder crashed \(SIGABRT\) after 0 s"):
            list(decoder.windows(video))
        decoder.command = Decoder(WINDOW).command
        assert len(list(decoder.windows(video))) == 3


def test_a_crash_in_the_middle_is_not_reported_as_damage() -> None:
    actual: list[np.ndarray] = []
    decoder = Decoder(
        WINDOW, stand_in("send_window(pipe, window); send_window(pipe, window); os.abort()")
    )
    with pytest.raises(UserError, match=r"crashed \(SIGABRT\) after 2 s") as error:
        actual.extend(decoder.windows("a.mp4"))  # extend takes what comes before the error
    assert len(actual) == 2 and not isinstance(error.value, DamagedVideo)


def test_a_decoder_that_hangs_is_killed() -> None:
    decoder = Decoder(WINDOW, stand_in("time.sleep(1000)"), patience=0.5)
    with pytest.raises(UserError, match="a.mp4: the decoder hung after 0 s"):
        list(decoder.windows("a.mp4"))


def test_a_decoder_that_exits_is_reported() -> None:
    decoder = Decoder(WINDOW, stand_in("sys.exit(7)"))
    with pytest.raises(UserError, match="the decoder ended with code 7"):
        list(decoder.windows("a.mp4"))
