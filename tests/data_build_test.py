"""`python -m data.build` builds, reports its counts and gives errors of one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data import build
from vtmask.inputs.dataset import Dataset

FLAGS = ["--manual_dir={manual}", "--data_dir={out}"]


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Makes a manual folder with one video, and names a folder to write to."""
    manual = tmp_path / "manual"
    manual.mkdir()
    np.save(manual / "a.npy", np.zeros((5, 512), np.float32))
    (manual / "a.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\ntake the onions now\n")
    (manual / "lost.srt").write_text("")
    return {"manual": manual, "out": tmp_path / "out"}


def run(monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path], *arguments: str) -> None:
    filled = [a.replace("{manual}", str(folders["manual"])) for a in arguments]
    filled = [a.replace("{out}", str(folders["out"])) for a in filled]
    monkeypatch.setattr(sys, "argv", ["build", *filled])
    build.main()


def test_a_build_prints_its_folder_counts_and_report(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, folders, "folder", *FLAGS)
    built = folders["out"] / "folder" / "default" / "1.0.0"
    expected = [
        f"folder/default/1.0.0 is in {built}",
        "train: 1 videos, 1 skipped (1 without a video or features)",
        f"Report: {built}/build_report.html",
    ]
    assert capsys.readouterr().out.splitlines()[-3:] == expected
    run(monkeypatch, folders, "folder", *FLAGS)
    first, *rest = capsys.readouterr().out.splitlines()
    assert "was built before" in first and rest == expected


def test_two_processes_write_the_same_bytes(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in "bcdef":
        np.save(folders["manual"] / f"{name}.npy", np.ones((5, 512), np.float32))
    run(monkeypatch, folders, "folder", *FLAGS)
    flags = [f"--manual_dir={folders['manual']}", f"--data_dir={tmp_path / 'other'}"]
    command = [sys.executable, "-m", "data.build", "folder", *flags]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    one, other = (f / "folder" / "default" / "1.0.0" for f in (folders["out"], tmp_path / "other"))
    assert {p.name for p in one.iterdir()} == {p.name for p in other.iterdir()}
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


def test_a_custom_config(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    config = '--config={"name": "mine", "feature_extractor": "s3d-howto100m"}'
    run(monkeypatch, folders, "folder", *FLAGS, config)
    dataset = Dataset("folder/mine", "train", str(folders["out"]))
    assert dataset.feature_extractor == "s3d-howto100m" and dataset.num_records == 1


def test_a_build_runs_on_beam(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("apache_beam")
    # Workers are separate processes without this one's modules and memory.
    options = "--beam_pipeline_options=direct_running_mode=multi_processing,direct_num_workers=2"
    run(monkeypatch, folders, "folder", *FLAGS, options)
    assert Dataset("folder/default", "train", str(folders["out"])).num_records == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["folder"], "--manual_dir is missing"),
        (["folder", "--manual_dir=/none"], "--manual_dir=/none: no such folder"),
        (["folder", *FLAGS, "--config=large"], "--config is 'large', expected 'default'"),
        (["folder", *FLAGS, '--config={"name"'], "--config: column 8: not JSON"),
        (["folder", *FLAGS, "--config={}"], "--config: has no field 'name'"),
        (["folder", *FLAGS, '--config={"name": "default"}'], "another name than default"),
        (["folder", *FLAGS, '--config={"name": "../x"}'], "expected letters and digits"),
        (["folder", *FLAGS, '--config={"name": "x", "vocab": 9}'], "a field is 'vocab', expected"),
        (["folder", *FLAGS, '--config={"name": "x", "seed": "y"}'], "'seed' is str, expected int"),
        (["folder", *FLAGS, "--tokenizer=/none.txt"], "/none.txt: no such tokenizer"),
        (["demo", "--manual_dir=/none"], "--manual_dir: demo renders its videos"),
        (["demo", "--beam_pipeline_options=a=b"], "--beam_pipeline_options: demo renders"),
        (["demo", '--config={"name": "x", "train": 1, "test": 1}'], "no field 'validation'"),
    ],
)
def test_a_wrong_flag_is_reported_on_one_line(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, folders, *arguments)
    assert str(ended.value).startswith("error: ") and message in str(ended.value)
    assert "\n" not in str(ended.value)


def test_missing_beam_is_reported(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    with pytest.raises(SystemExit, match=r"Beam is not installed; pip install -e '.\[beam\]'"):
        run(monkeypatch, folders, "folder", *FLAGS, "--beam_pipeline_options=direct_num_workers=1")


def test_features_without_any_text_are_refused(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders["manual"] / "a.srt").unlink()
    with pytest.raises(SystemExit, match="can't be trained: there is no text"):
        run(monkeypatch, folders, "folder", *FLAGS)
