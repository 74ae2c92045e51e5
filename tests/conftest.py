"""Fixtures that many rooms share: where the bundled and the larger shared data lie."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings

from tests.small_demo import CRAWL, Demo

# OpenMP threads that wait by spinning starve each other when tests share the cores
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
# a busy machine must not turn a property into a failure
settings.register_profile("stemma", deadline=None)
settings.load_profile("stemma")

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def bundled_crawl() -> Path:
    """The crawl root that ships with the project: one folder a snapshot."""
    return REPO / "tests" / "data" / "crawl"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Larger real data beside the checkout; tests that need it are skipped, with the reason, where it is absent."""
    path = Path(os.environ.get("STEMMA_SHARED_DATA", REPO.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"shared data is absent at {path}: set STEMMA_SHARED_DATA to its folder to run this test")
    return path


@pytest.fixture(scope="session")
def block_list_cache(tmp_path_factory) -> Path:
    """A cache folder for the block lists' hash arrays, built once for all tests that need them."""
    return tmp_path_factory.mktemp("block-lists")


@pytest.fixture(scope="session")
def small_crawl(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("crawl")
    bundled = REPO / "tests" / "data" / "crawl" / "web-sample-2024"
    for snapshot, files in CRAWL.items():
        (root / snapshot).mkdir()
        for name in files:
            shutil.copy(bundled / name, root / snapshot)
    return root


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, small_crawl: Path, block_list_cache: Path) -> Demo:
    """One whole demo with the smoke recipe on a part of the bundled crawl, run once for all tests that look at one."""
    home = tmp_path_factory.mktemp("smoke") / "home"
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache)
    demo = Demo(home, small_crawl)
    return replace(demo, report=demo.run())
