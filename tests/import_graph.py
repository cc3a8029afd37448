"""Prints which packages of vtmask import which: `python tests/import_graph.py`.

Each line has a package, its lines of code and the packages that it imports. Packages appear in
`ORDER`, lowest first, and import only packages above their line. Imports in functions count, too.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1] / "vtmask"
ORDER = (
    *("errors", "disk", "compatibility", "settings", "program", "pages", "files", "tokenizers"),
    *("mesh", "unpadding", "sequence", "attention", "masking", "losses", "decoding", "ranking"),
    *("peaks", "models", "tasks", "export", "convert", "features", "thumbnails", "datasets"),
    *("inputs", "training", "evaluation", "checks", "recipe", "inspection", "api", "search"),
    *("__init__", "cli", "__main__"),
)


def package_of(path: Path) -> str:
    """Returns the package of a file, or the module's name if it lies in vtmask/ itself."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Returns the dotted names of vtmask's modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "vtmask")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vtmask":
            if node.module == "vtmask":
                yield from (f"vtmask.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def graph() -> dict[str, set[str]]:
    """Returns the packages that each package imports."""
    packages: dict[str, set[str]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        package = package_of(path)
        names = {(name.split(".") + ["__init__"])[1] for name in imports(path)}
        # `from vtmask import Index` names an attribute of vtmask/__init__.py.
        names = {
            name if (ROOT / name).is_dir() or (ROOT / f"{name}.py").exists() else "__init__"
            for name in names
        }
        packages.setdefault(package, set()).update(names - {package})
    return packages


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Returns the imports of packages that do not come before the importer in `ORDER`."""
    place = {package: i for i, package in enumerate(ORDER)}
    return [
        f"{package} imports {name}"
        for package, names in graph.items()
        for name in sorted(names)
        if place[name] >= place[package]
    ]


def main() -> None:
    packages = graph()
    lines = {package: 0 for package in packages}
    for path in ROOT.rglob("*.py"):
        lines[package_of(path)] += len(path.read_text().splitlines())
    for package in ORDER:
        if package in packages:
            names = sorted(packages[package], key=ORDER.index)
            print(f"{package:<14}{lines[package]:>6}  {' '.join(names)}")
    print(f"{sum(lines.values())} lines")
    print("imports go down only" if not upward(packages) else "\n".join(upward(packages)))


if __name__ == "__main__":
    main()
