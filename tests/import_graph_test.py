"""Packages import only packages below them, files stay short, and CONTRIBUTING.md names them."""

import ast
import re

import import_graph
import pytest

_DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


def test_imports_go_down_only() -> None:
    graph = import_graph.graph()
    assert set(graph) <= set(import_graph.ORDER)
    assert import_graph.upward(graph) == []


def test_an_upward_import_is_detected() -> None:
    up = {"models": {"tasks"}, "tasks": {"models"}, "errors": set()}
    assert import_graph.upward(up) == ["models imports tasks"]


def test_files_have_at_most_350_lines() -> None:
    lines = {
        path.relative_to(import_graph.ROOT).as_posix(): len(path.read_text().splitlines())
        for path in import_graph.ROOT.rglob("*.py")
    }
    assert {path: count for path, count in lines.items() if count > 350} == {}


def section(file: str, title: str) -> str:
    guide = (import_graph.ROOT.parent / file).read_text()
    return guide.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[tuple[str, str]]:
    """Returns the file and the names of each row of a section's table in CONTRIBUTING.md."""
    pattern = r"^\| .+ \| `(\w+/.+\.py)` \| (.+) \|$"
    return re.findall(pattern, section("CONTRIBUTING.md", title), re.MULTILINE)


@pytest.mark.parametrize("title", ["The papers' terms", "Claims and their tests"])
def test_every_name_in_contributing_is_in_its_file(title: str) -> None:
    assert len(rows(title)) >= 25
    for path, names in rows(title):
        tree = ast.parse((import_graph.ROOT.parent / path).read_text())
        defined = {node.name for node in tree.body if isinstance(node, _DEFINITIONS)}
        assigned = [node.targets for node in tree.body if isinstance(node, ast.Assign)]
        defined |= {t.id for targets in assigned for t in targets if isinstance(t, ast.Name)}
        for name in re.findall(r"`(\w+)`", names):
            assert name in defined, f"{path} has no {name}"


def test_the_readme_links_to_the_tests_of_its_claims() -> None:
    links = re.findall(r"\]\((tests/.+?)\)", section("README.md", "What to rely on"))
    assert set(links) == {path for path, _ in rows("Claims and their tests")}
