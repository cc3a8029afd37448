"""Hooks of MkDocs: add the generated pages, and turn the repository's links into the site's."""

import logging
from collections.abc import Iterator
from typing import Any

import pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_log = logging.getLogger("mkdocs.hooks")
_sources = pages.copied()


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for page, source in _sources.items():
        files.append(File.generated(config, page, content=(pages.ROOT / source).read_text()))
    for page, markdown in pages.generated().items():
        files.append(File.generated(config, page, content=markdown))
    names = sorted(file.src_uri for file in files if file.src_uri.endswith(".md"))
    config.nav = _expanded(config.nav, names)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    uri = page.file.src_uri
    markdown, missing = pages.site_links(markdown, uri, _sources)
    for link in missing:
        _log.warning("%s links to %s, which does not exist", _sources.get(uri, uri), link)
    return markdown


def _expanded(nav: Any, names: list[str]) -> Any:
    """The navigation with "FOLDER/*" replaced by the pages of the folder that it does not name."""
    named = set(_strings(nav))

    def expand(entry: Any) -> Any:
        if isinstance(entry, dict):
            return {title: expand(part) for title, part in entry.items()}
        if isinstance(entry, list):
            return [page for part in entry for page in expand_item(part)]
        return entry

    def expand_item(entry: Any) -> list[Any]:
        if isinstance(entry, str) and entry.endswith("*"):
            folder = entry.removesuffix("*")
            others = [name for name in names if name not in named and name.startswith(folder)]
            return [name for name in others if "/" not in name.removeprefix(folder)]
        return [expand(entry)]

    return expand(nav)


def _strings(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from _strings(part)
