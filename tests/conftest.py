"""Fixtures for all tests."""

from pathlib import Path

import pytest

import golden


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=golden.COMPACT,
        help="Folder of golden numbers; the full set checks more than the compact one here.",
    )


@pytest.fixture(scope="session")
def golden_dir(request: pytest.FixtureRequest) -> Path:
    return request.config.getoption("--golden-dir")
