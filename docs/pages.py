"""Pages of the site that are made from other files of the repository.

Links in the repository's Markdown are relative paths, so that they work on GitHub. On the site a
link to a file that has a page leads to this page, and a link to any other file to GitHub.
"""

import ast
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/vtmask/vtmask"
PICTURES = (".png", ".svg", ".jpg")

_CODE = re.compile(r"^(```|~~~).*?^\1|`+[^`\n]+`+|^ {4}[^\n]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_NOT_A_PATH = re.compile(r"[a-z]+:|#")


def copied() -> dict[str, str]:
    """Pages that are files elsewhere in the repository: page → file."""
    pages = {
        "index.md": "README.md",
        "contributing.md": "CONTRIBUTING.md",
        "changelog.md": "CHANGELOG.md",
        "benchmarks/index.md": "benchmarks/README.md",
        "data/index.md": "data/README.md",
    }
    for path in sorted((ROOT / "benchmarks").glob("[a-z]*.md")):
        pages[f"benchmarks/{path.name}"] = f"benchmarks/{path.name}"
    for path in sorted((ROOT / "data").glob("*/README.md")):
        pages[f"data/{path.parent.name}.md"] = f"data/{path.parent.name}/README.md"
    return pages


def notebook(path: Path) -> str:
    """The cells of a notebook as Markdown."""
    cells = json.loads(path.read_text())["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"]) for cell in cells]
    return "\n\n".join(
        f"```python\n{text}\n```" if kind == "code" else text for text, kind in texts
    )


def recipes() -> str:
    """Every recipe with its docstring and its source."""
    parts = [
        "# Recipes",
        "A recipe is a Python file with a function `get_config()`. `--config=configs/NAME.py` "
        "selects it, and `--config.FIELD=VALUE` overrides a field.",
    ]
    for path in sorted((ROOT / "configs").glob("[a-z]*.py")):
        source = path.read_text()
        module = ast.parse(source)
        summary, _, details = (ast.get_docstring(module) or "").partition("\n")
        code = "\n".join(source.splitlines()[module.body[0].end_lineno :]).strip()
        indented = "\n".join(f"    {line}".rstrip() for line in code.splitlines())
        parts += [
            f"## {path.name} {{ #{path.stem} }}",
            summary,
            details.strip("\n"),
            f'??? note "[configs/{path.name}](../configs/{path.name})"\n\n'
            f"    ```python\n{indented}\n    ```",
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def modules() -> Iterator[tuple[str, Path]]:
    """Modules of vtmask that have something public: dotted names and files."""
    for path in sorted((ROOT / "vtmask").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if path.name == "__init__.py":
            parts = parts[:-1]
        if not any(part.startswith("_") for part in parts) and path.stat().st_size:
            yield ".".join(parts), path


def public_names(path: Path) -> list[str]:
    """The public functions, classes and constants that a module defines."""
    names = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return [name for name in dict.fromkeys(names) if not name.startswith("_")]


def reference_of(module: str) -> str:
    """The page of a module: one for each package, one for each module outside of packages."""
    parts = module.split(".")
    return f"reference/{parts[1] if len(parts) > 1 else 'vtmask'}.md"


def references() -> dict[str, str]:
    """Pages of the API for mkdocstrings: page → Markdown."""
    pages: dict[str, list[str]] = {}
    for module, path in modules():
        page = pages.setdefault(reference_of(module), [])
        options = {"members": public_names(path), "heading_level": 2 if page else 1}
        page.append(f"::: {module}\n    options: {json.dumps(options)}")
    return {name: "\n\n".join(parts) + "\n" for name, parts in pages.items()}


def generated() -> dict[str, str]:
    """Pages that are no file of the repository: page → Markdown."""
    quickstart = notebook(ROOT / "docs" / "notebooks" / "quickstart.ipynb")
    return {"recipes.md": recipes(), "notebooks/quickstart.md": quickstart} | references()


def site_links(markdown: str, page: str, sources: Mapping[str, str]) -> tuple[str, list[str]]:
    """Markdown of a page with the repository's links turned into the site's.

    Args:
      page: its path on the site.
      sources: pages that are files outside of docs/: page → file.

    Returns:
      The Markdown, and those of its links that lead to no file.
    """
    here = posixpath.dirname(page)
    folder = posixpath.dirname(sources.get(page, f"docs/{page}"))
    page_of = {source: other for other, source in sources.items()}
    missing = []

    def rewritten(match: re.Match[str]) -> str:
        link = match[0]
        if _NOT_A_PATH.match(link):
            return link
        target, _, anchor = link.partition("#")
        path = posixpath.normpath(posixpath.join(folder, target))
        found = ROOT / path
        if not found.exists():
            missing.append(link)
            return link
        if found.is_dir() and (found / "README.md").exists():
            path = f"{path}/README.md"
        if path in page_of:
            target = page_of[path]
        elif path.startswith("docs/") and path.endswith((".md", *PICTURES)):
            target = path.removeprefix("docs/")
        elif path == "docs/notebooks/quickstart.ipynb":
            target = "notebooks/quickstart.md"
        elif re.fullmatch(r"configs/[a-z]\w*\.py", path):
            target, anchor = "recipes.md", found.stem
        elif path == "configs":
            target = "recipes.md"
        elif re.fullmatch(r"vtmask/.*\.py", path) and anchor:
            module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            target, anchor = reference_of(module), f"{module}.{anchor}"
        else:
            return f"{REPOSITORY}/{'tree' if found.is_dir() else 'blob'}/main/{path}"
        relative = posixpath.relpath(target, here or ".")
        return f"{relative}#{anchor}" if anchor else relative

    pieces, end = [], 0
    for code in _CODE.finditer(markdown):
        pieces += [_LINK.sub(rewritten, markdown[end : code.start()]), code[0]]
        end = code.end()
    pieces.append(_LINK.sub(rewritten, markdown[end:]))
    return "".join(pieces), missing
