"""`vtmask index`, `search` and `serve` as a user runs them."""

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from search.made import Made

from vtmask import cli
from vtmask.search import server
from vtmask.search.index import Index

TEXT = "bake the cake"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> int | str | None:
    """Returns the exit code, or the line with which the command ends."""
    monkeypatch.setattr(sys, "argv", ["vtmask", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_two_commands_make_videos_searchable(
    own: Made, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (own.videos / "broken.mp4").write_bytes(b"no video")
    made = ("index", own.videos, "--model", own.model, "--out", own.index, "--num_decoders", 1)
    assert run(monkeypatch, *made) == 3
    said = capsys.readouterr().out
    assert "4 videos (0 added, 0 updated, 4 unchanged), 0 removed" in said
    assert "broken.mp4" in said
    assert run(monkeypatch, "search", own.index, TEXT, "-k", 2) == 0
    first, second = capsys.readouterr().out.splitlines()
    wanted = Index(own.index).search(TEXT, 2)
    assert wanted[0].path in first
    assert f"{wanted[0].score:.2f}" in first
    assert wanted[1].path in second


def test_results_as_json(made_once: Made, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    options = ("--json", "--path", "cake", "--by", "captions")
    assert run(monkeypatch, "search", made_once.index, TEXT, *options) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["name"], found["caption"]) == ("cake", "bake the apple cake")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--longest", 1), {"short"}),
        (("--after", "2100-01-01"), set()),
        (("--shortest", 20), {"old"}),
    ],
)
def test_filters(
    options: tuple[Any, ...],
    names: set[str],
    made_once: Made,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    assert run(monkeypatch, "search", made_once.index, TEXT, "--json", *options) == 0
    assert {moment["name"] for moment in json.loads(capsys.readouterr().out)} == names


def test_nothing_found(made_once: Made, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert run(monkeypatch, "search", made_once.index, TEXT, "--path", "nowhere") == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "No moments found\n")


def test_serving(made_once: Made, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(server.uvicorn, "run", lambda app, **options: None)
    assert run(monkeypatch, "serve", made_once.index, "--port", 8123) == 0
    assert "4 videos at http://127.0.0.1:8123/" in capsys.readouterr().out


@pytest.mark.parametrize("command", [("search", "TEXT"), ("serve",)])
def test_no_index(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *rest = command
    said = run(monkeypatch, name, tmp_path, *rest)
    assert isinstance(said, str)
    assert said.startswith(f"error: {tmp_path}: is no index")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("lancedb"):
            raise ModuleNotFoundError("No module named 'lancedb'", name="lancedb")
        return imported(name, *arguments, **options)

    for module in [name for name in sys.modules if name.startswith(("lancedb", "vtmask.search."))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", without)
    said = run(monkeypatch, "search", tmp_path, TEXT)
    assert said == (
        "error: search needs lancedb, which is not installed; pip install -e '.[search]'"
    )
