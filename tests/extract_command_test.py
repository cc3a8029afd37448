"""`vtmask extract` as users run it: 200 videos, five of them bad, and a kill in the middle."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

VTMASK = (sys.executable, "-m", "vtmask")
GOOD, FAULTS = 195, ("truncated", "empty", "text", "unreadable", "frameless")


@pytest.fixture(scope="module")
def videos(demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links the demo's shortest videos under 195 names, and adds the bad ones."""
    rendered = sorted(
        (demo_dir / "demo/tiny/2.0.0/videos").iterdir(), key=lambda path: path.stat().st_size
    )[:8]
    folder = tmp_path_factory.mktemp("videos")
    for number in range(GOOD):
        (folder / f"{number:03}.mp4").symlink_to(rendered[number % len(rendered)])
    content = rendered[0].read_bytes()
    (folder / "truncated.mp4").write_bytes(content[: len(content) // 2])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("a text that was renamed\n" * 100)
    (folder / "unreadable.mp4").symlink_to("unreadable.mp4")  # not even root can read it
    with av.open(str(folder / "frameless.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return folder


def command(videos: Path, out: Path, *options: str) -> list[str]:
    model = "--model=pixel-statistics-v1"
    return [*VTMASK, "extract", str(videos), f"--out={out}", model, *options]


def extract(videos: Path, out: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(videos, out, *options), capture_output=True, text=True)


@pytest.fixture(scope="module")
def extracted(
    videos: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess, Path]:
    out = tmp_path_factory.mktemp("out")
    return extract(videos, out), out


def test_bad_videos_are_skipped_and_reported(
    extracted: tuple[subprocess.CompletedProcess, Path],
) -> None:
    run, out = extracted
    assert run.returncode == 3
    lines = run.stdout.splitlines()
    start = lines.index(f"{GOOD} of {GOOD + len(FAULTS)} videos have features in {out}")
    assert lines[start + 1] == f"skipped: {len(FAULTS)}"
    messages = lines[start + 2 : start + 2 + len(FAULTS)]
    assert sorted(re.findall(r"(\w+)\.mp4: ", "\n".join(messages))) == sorted(FAULTS)
    assert "Traceback" not in run.stderr
    log = [json.loads(line) for line in (out / "extracted.jsonl").read_text().splitlines()]
    assert {line["video"] for line in log if not line["features"]} == set(FAULTS)
    assert all(line["problem"] for line in log if not line["features"])


def test_every_good_video_has_features(
    extracted: tuple[subprocess.CompletedProcess, Path],
) -> None:
    _, out = extracted
    actual = {path.stem: np.load(path) for path in out.glob("*.npy")}
    assert set(actual) == {f"{number:03}" for number in range(GOOD)}
    for features in actual.values():
        assert features.dtype == np.float16 and features.shape[1] == 512
        norms = np.linalg.norm(features.astype(np.float32), axis=1)
        np.testing.assert_allclose(norms, 1, atol=1e-2)


def children(process: int) -> list[int]:
    threads = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def is_running(process: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_extraction_resumes(
    videos: Path, extracted: tuple[subprocess.CompletedProcess, Path], tmp_path: Path
) -> None:
    process = subprocess.Popen(command(videos, tmp_path), stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(tmp_path.glob("*.npy"))) > 50)
    decoders = children(process.pid)
    assert decoders
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(map(is_running, decoders)))
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in tmp_path.glob("*.npy")}
    assert 50 < len(before) < GOOD

    assert extract(videos, tmp_path).returncode == 3
    for path, (inode, data) in before.items():
        assert (path.stat().st_ino, path.read_bytes()) == (inode, data)  # not written again
    _, undisturbed = extracted
    names = sorted(path.name for path in undisturbed.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        ours, theirs = (tmp_path / name).read_bytes(), (undisturbed / name).read_bytes()
        if name.endswith(".jsonl"):
            lines, expected = Counter(ours.splitlines()), Counter(theirs.splitlines())
            # The last video before the kill was logged again if its features were not yet written.
            assert lines.keys() == expected.keys()
            assert (lines - expected).total() <= 1
        else:
            assert ours == theirs, name


def test_shards_cover_every_video_once(
    videos: Path, extracted: tuple[subprocess.CompletedProcess, Path], tmp_path: Path
) -> None:
    names = [path.stem for path in videos.iterdir()][::8]  # every eighth, to save time
    (tmp_path / "list.txt").write_text("".join(f"{videos / name}.mp4\n" for name in names))
    for shard in ("1/2", "2/2"):
        extract(tmp_path / "list.txt", tmp_path / "out", f"--shard={shard}")
    logs = sorted((tmp_path / "out").glob("extracted-*-of-2.jsonl"))
    assert len(logs) == 2
    logged = [json.loads(line)["video"] for log in logs for line in log.read_text().splitlines()]
    assert sorted(logged) == sorted(names)


def test_a_good_video_is_extracted_and_shown(videos: Path, tmp_path: Path) -> None:
    run = extract(videos / "003.mp4", tmp_path)
    assert run.returncode == 0
    assert run.stdout.splitlines()[0] == f"1 of 1 videos have features in {tmp_path}"
    show = [*VTMASK, "features", "show", str(tmp_path / "003.npy")]
    run = subprocess.run([*show, f"--out={tmp_path / 'a.png'}"], capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout == f"Picture: {tmp_path / 'a.png'}\n"
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "options, problem",
    [
        (["--model=s4d"], "model is 's4d'"),
        (["--model=s3d"], "needs --weights"),
        (["--model=s3d", "--weights=gone.pth"], "gone.pth"),
        (["--shard=0/3"], "--shard is '0/3'"),
    ],
)
def test_errors_are_one_line(
    videos: Path, tmp_path: Path, options: list[str], problem: str
) -> None:
    run = extract(videos, tmp_path / "out", *options)
    assert run.returncode == 1
    assert problem in run.stderr and run.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


SLOW = """
import time
import numpy as np
def slow(frames):
    time.sleep(0.3)
    return np.ones((len(frames), 3), np.float32)
def failing(frames):
    if frames.any():
        raise RuntimeError("out of memory")
    return np.ones((len(frames), 3), np.float32)
"""


@pytest.fixture
def extract_command(videos: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "own.py").write_text(SLOW)
    return [*VTMASK, "extract", str(videos), f"--out={tmp_path / 'out'}", "--batch_size=1"]


def test_a_failing_extractor_ends_the_command(extract_command: list[str], tmp_path: Path) -> None:
    command = [*extract_command, f"--model={tmp_path / 'own.py'}:failing"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and "RuntimeError: out of memory" in run.stderr


def test_a_keyboard_interrupt_stops_cleanly(extract_command: list[str], tmp_path: Path) -> None:
    command = [*extract_command, f"--model={tmp_path / 'own.py'}:slow"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        # If a shell runs the tests in the background, its children ignore SIGINT by default.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(lambda: list(tmp_path.glob("out/*.jsonl")))
    time.sleep(3)
    os.killpg(process.pid, signal.SIGINT)
    _, message = process.communicate(timeout=30)
    assert process.returncode == 130
    assert message.decode().endswith("stopped; run the same command again to continue\n")
    assert b"Traceback" not in message


def test_showing_a_folder_is_refused(tmp_path: Path) -> None:
    show = [*VTMASK, "features", "show", "."]
    run = subprocess.run(show, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr == "error: .: is a folder, expected features or a video\n"


def test_missing_videos_are_reported(tmp_path: Path) -> None:
    run = extract(tmp_path / "gone", tmp_path / "out")
    assert run.returncode == 1
    assert run.stderr == f"error: {tmp_path / 'gone'}: no such file or folder\n"


def test_a_custom_extractor(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def colour(frames):\n"
        "    return frames.mean((1, 2, 3), dtype=np.float32) / 255\n"
    )
    model = f"--model={tmp_path / 'mine.py'}:colour"
    run = subprocess.run(
        [*VTMASK, "extract", str(videos / "000.mp4"), f"--out={tmp_path / 'out'}", model],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert run.returncode == 0
    features = np.load(tmp_path / "out/000.npy")
    assert features.shape[1] == 3 and 0 < features.mean() < 1
    card = json.loads((tmp_path / "out/features.json").read_text())
    assert card["feature_size"] == 3 and card["feature_extractor"].endswith("mine.py:colour")
