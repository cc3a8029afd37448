"""Packages import those below them only, and files stay short."""

import import_graph


def test_imports_go_down_only() -> None:
    graph = import_graph.graph()
    assert set(graph) <= set(import_graph.ORDER)
    assert import_graph.upward(graph) == []


def test_an_import_that_goes_up_is_seen() -> None:
    up = {"models": {"tasks"}, "tasks": {"models"}, "errors": set()}
    assert import_graph.upward(up) == ["models imports tasks"]


def test_files_have_350_lines_at_most() -> None:
    lines = {
        path.relative_to(import_graph.ROOT).as_posix(): len(path.read_text().splitlines())
        for path in import_graph.ROOT.rglob("*.py")
    }
    assert {path: count for path, count in lines.items() if count > 350} == {}
