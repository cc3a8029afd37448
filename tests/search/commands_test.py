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
    """Returns the exit code, or the line of an error."""
    monkeypatch.setattr(sys, "argv", ["vtmask", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_two_commands_make_videos_searchable(
    made_copy: Made, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (made_copy.videos / "broken.mp4").write_bytes(b"no video")
    made = (
        "index",
        made_copy.videos,
        "--model",
        made_copy.model,
        "--out",
        made_copy.index,
        "--num_decoders",
        1,
    )
    assert run(monkeypatch, *made) == 3
    printed = capsys.readouterr().out
    assert "4 videos (0 added, 0 updated, 4 unchanged), 0 removed" in printed
    assert "broken.mp4" in printed
    assert run(monkeypatch, "search", made_copy.index, TEXT, "-k", 2) == 0
    first, second = capsys.readouterr().out.splitlines()
    moments = Index(made_copy.index).search(TEXT, 2)
    assert moments[0].path in first
    assert f"{moments[0].score:.2f}" in first
    assert moments[1].path in second


def test_results_may_be_json(made_once: Made, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    options = ("--json", "--path", "cake", "--by", "captions")
    assert run(monkeypatch, "search", made_once.index, TEXT, *options) == 0
    (moment,) = json.loads(capsys.readouterr().out)
    assert (moment["name"], moment["caption"]) == ("cake", "bake the apple cake")


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


def test_a_search_without_results_says_so(
    made_once: Made, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert run(monkeypatch, "search", made_once.index, TEXT, "--path", "nowhere") == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "No moments found\n")


def test_serving_prints_the_address(
    made_once: Made, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(server.uvicorn, "run", lambda app, **options: None)
    assert run(monkeypatch, "serve", made_once.index, "--port", 8123) == 0
    assert "4 videos at http://127.0.0.1:8123/" in capsys.readouterr().out


@pytest.mark.parametrize("command", [("search", "TEXT"), ("serve",)])
def test_a_missing_index_is_reported_on_one_line(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *rest = command
    error = run(monkeypatch, name, tmp_path, *rest)
    assert isinstance(error, str)
    assert error.startswith(f"error: {tmp_path}: is not an index")


def test_a_missing_extra_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("lancedb"):
            raise ModuleNotFoundError("No module named 'lancedb'", name="lancedb")
        return imported(name, *arguments, **options)

    for module in [name for name in sys.modules if name.startswith(("lancedb", "vtmask.search."))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", without)
    error = run(monkeypatch, "search", tmp_path, TEXT)
    assert error == (
        "error: search needs lancedb, which is not installed; pip install -e '.[search]'"
    )
