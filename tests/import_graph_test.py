"""Packages import only packages below them, and files stay short."""

import ast
import re

import import_graph

_DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


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


def test_every_term_of_the_papers_is_where_contributing_says() -> None:
    guide = (import_graph.ROOT.parent / "CONTRIBUTING.md").read_text()
    section = guide.split("## The papers' terms")[1].split("\n## ")[0]
    rows = re.findall(r"^\| .+ \| `(vtmask/.+\.py)` \| (.+) \|$", section, re.MULTILINE)
    assert len(rows) >= 25
    for path, names in rows:
        tree = ast.parse((import_graph.ROOT.parent / path).read_text())
        defined = {node.name for node in tree.body if isinstance(node, _DEFINITIONS)}
        assigned = [node.targets for node in tree.body if isinstance(node, ast.Assign)]
        defined |= {t.id for targets in assigned for t in targets if isinstance(t, ast.Name)}
        for name in re.findall(r"`(\w+)`", names):
            assert name in defined, f"{path} has no {name}"
