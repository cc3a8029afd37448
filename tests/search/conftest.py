"""Videos, a small untrained model and an index of the videos."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from search.made import Made, write_model, write_videos

from vtmask.search import indexing
from vtmask.search.index import Index


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A shared instance, which tests must not change."""
    folder = tmp_path_factory.mktemp("search")
    write_videos(folder / "videos")
    write_model(folder / "model")
    found = Made(folder / "videos", folder / "model", folder / "index")
    summary = indexing.index([str(found.videos)], found.model, found.index)
    assert (summary.added, summary.problems) == (4, [])
    return found


@pytest.fixture
def own(made_once: Made, tmp_path: Path) -> Made:
    """A copy that tests may change; its index is of the copied videos."""
    shutil.copytree(made_once.videos, tmp_path / "videos")
    found = Made(tmp_path / "videos", made_once.model, tmp_path / "index")
    shutil.copytree(made_once.index / "features", found.index / "features")
    shutil.copy(made_once.index / "index.json", found.index)
    indexing.index([str(found.videos)], found.model, found.index)
    return found


@pytest.fixture(scope="session")
def index(made_once: Made) -> Index:
    return Index(made_once.index)


@pytest.fixture
def update(own: Made) -> Callable[[], indexing.Summary]:
    """Runs the command again on `own`."""
    return lambda: indexing.index([str(own.videos)], own.model, own.index)
