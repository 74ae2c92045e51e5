"""Fixtures of the fault rows: one small crawl of real pages, and what an undisturbed run makes of it."""

from pathlib import Path

import pytest

from assets.lake import Lake
from tests.faults.data_plane import make, write_crawl


@pytest.fixture(scope="session")
def crawl(bundled_crawl, tmp_path_factory) -> Path:
    """A crawl root of two files, nine pages."""
    return write_crawl(tmp_path_factory.mktemp("crawl"), bundled_crawl)


@pytest.fixture(scope="session")
def calm_home(crawl, block_list_cache, tmp_path_factory) -> tuple[Path, dict]:
    """A home in which everything was made without a disturbance, and what was made: versions and accounting."""
    home = tmp_path_factory.mktemp("calm")
    return home, make(Lake(home), crawl, cache=block_list_cache)


@pytest.fixture(scope="session")
def calm(calm_home) -> dict:
    """What an undisturbed run makes."""
    return calm_home[1]
