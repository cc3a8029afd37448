"""Hooks of MkDocs: add the generated pages, and turn the repository's links into the site's."""

import logging
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
    config.nav = _with_folders(config.nav, names)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    uri = page.file.src_uri
    markdown, missing = pages.site_links(markdown, uri, _sources)
    for link in missing:
        _log.warning("%s links to %s, which does not exist", _sources.get(uri, uri), link)
    return markdown


def _with_folders(nav: Any, names: list[str]) -> Any:
    """The navigation with "FOLDER/*" replaced by the other pages of the folder."""
    if isinstance(nav, dict):
        return {title: _with_folders(entry, names) for title, entry in nav.items()}
    if not isinstance(nav, list):
        return nav
    named = {entry for entry in nav if isinstance(entry, str)}
    entries: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and entry.endswith("/*"):
            folder = entry.removesuffix("*")
            entries += [name for name in names if name.startswith(folder) and name not in named]
        else:
            entries.append(_with_folders(entry, names))
    return entries
