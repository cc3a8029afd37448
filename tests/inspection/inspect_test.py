"""`vtmask inspect` writes a page and prints to the terminal."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import synthetic
from ml_collections import ConfigDict

from vtmask import cli, program
from vtmask.inspection.inspect import inspect


def config(data_dir: Path, name: str = "demo") -> ConfigDict:
    data = {"data__name": "demo/tiny", "data__dir": str(data_dir), "data__split": "train"}
    return synthetic.recipe(name, batch_size=16, **data)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Returns the exit code of `vtmask inspect`, or the error that it prints."""
    monkeypatch.setattr(sys, "argv", ["vtmask", "inspect", *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(program, "quiet_orbax", lambda: None)  # lasts beyond the test
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_page_and_terminal(
    demo_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inspect(config(demo_dir), 2, 3, tmp_path / "out")
    printed = capsys.readouterr().out
    assert printed.startswith("Step 2 of demo/tiny, train\n") and "\033" not in printed
    assert len(re.findall(r"^  video", printed, re.MULTILINE)) == 3
    assert f"{16 * 32}\n" in printed and "clips/s" in printed
    page = (tmp_path / "out/index.html").read_text()
    frames = [int(n) for n in re.findall(r"^  video +(\d+)", printed, re.MULTILINE)]
    assert page.count("data:image/jpeg;base64,") == sum(frames)
    assert '<path class="kind3"' in page and '<path class="kind5"' in page
    assert not re.search(r"(src|srcset|href)=\"(?!data:)|<script|url\(", page)


def test_missing_videos_are_reported_on_the_page(
    demo_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(demo_dir, tmp_path / "data")
    [videos] = (tmp_path / "data").glob("demo/tiny/*/videos")
    shutil.rmtree(videos)
    inspect(config(tmp_path / "data", "demo_retrieval"), 0, 2, tmp_path)
    assert "nothing masked          100.0% of clips" in capsys.readouterr().out
    page = (tmp_path / "index.html").read_text()
    assert page.count("No such file or directory") == 2


def test_the_command_takes_overrides(
    demo_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = ["--config=configs/demo.py", f"--config.data.dir={demo_dir}", "--config.batch_size=16"]
    data = ["--config.data.name", "demo/tiny"]
    arguments = ["--step=3", *recipe, *data, "--num_clips=2", f"--out={tmp_path}/pages/step"]
    assert run(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Step 3 of demo/tiny, train\n")
    assert len(re.findall(r"^  video", printed, re.MULTILINE)) == 2
    assert (tmp_path / "pages/step/index.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.data.name=demo/huge"], "demo/huge"),
        (["--config.data.nam=demo"], 'no field "data.nam". Did you mean "data.name"?'),
        (["elsewhere"], "unexpected argument 'elsewhere'"),
        (["--clips=3"], "Unknown command line flag 'clips'"),
    ],
)
def test_errors_are_one_line(
    demo_dir: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    recipe = ["--config=configs/demo.py", f"--config.data.dir={demo_dir}"]
    error = run(monkeypatch, *recipe, *arguments)
    assert isinstance(error, str) and error.startswith("error: ") and "\n" not in error
    assert message in error
