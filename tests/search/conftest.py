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
    """Makes a shared instance, which tests must not change."""
    folder = tmp_path_factory.mktemp("search")
    write_videos(folder / "videos")
    write_model(folder / "model")
    made = Made(folder / "videos", folder / "model", folder / "index")
    summary = indexing.index([str(made.videos)], made.model, made.index)
    assert (summary.added, summary.problems) == (4, [])
    return made


@pytest.fixture
def made_copy(made_once: Made, tmp_path: Path) -> Made:
    """Makes a copy that tests may change, with an index of the copied videos."""
    shutil.copytree(made_once.videos, tmp_path / "videos")
    made = Made(tmp_path / "videos", made_once.model, tmp_path / "index")
    shutil.copytree(made_once.index / "features", made.index / "features")
    shutil.copy(made_once.index / "index.json", made.index)
    indexing.index([str(made.videos)], made.model, made.index)
    return made


@pytest.fixture(scope="session")
def index(made_once: Made) -> Index:
    return Index(made_once.index)


@pytest.fixture
def update(made_copy: Made) -> Callable[[], indexing.Summary]:
    """Returns a function that runs the command again on `made_copy`."""
    return lambda: indexing.index([str(made_copy.videos)], made_copy.model, made_copy.index)
