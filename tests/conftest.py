"""Fixtures that many rooms share: where the bundled and the larger shared data lie."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from tests.small_demo import CRAWL, Demo, copy_home

# a shell starts what it runs in the background with SIGINT ignored, and so would be every program that a test starts
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
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
def among_workers(tmp_path_factory) -> Path:
    """A folder that all processes of this run of the tests share."""
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="session")
def block_list_cache(among_workers: Path) -> Path:
    """A cache folder for the block lists' hash arrays, built once for all tests that need them."""
    folder = among_workers / "block-lists"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def small_crawl(among_workers: Path) -> Path:
    root = among_workers / "crawl"
    bundled = REPO / "tests" / "data" / "crawl" / "web-sample-2024"
    with FileLock(among_workers / "crawl.lock"):
        for snapshot, files in CRAWL.items():
            (root / snapshot).mkdir(parents=True, exist_ok=True)
            for name in files:
                if not (root / snapshot / name).exists():
                    shutil.copy(bundled / name, root / snapshot)
    return root


@pytest.fixture(scope="session")
def smoke(among_workers: Path, tmp_path_factory, small_crawl: Path, block_list_cache: Path) -> Demo:
    """One whole demo with the smoke recipe on a part of the bundled crawl, for all tests that look at one. It is run
    once; each process of the tests has a copy of its home."""
    made, report = among_workers / "smoke" / "home", among_workers / "smoke.json"
    with FileLock(among_workers / "smoke.lock"):
        if not report.exists():
            made.mkdir(parents=True)
            (made / "cache").symlink_to(block_list_cache)
            report.write_text(json.dumps(Demo(made, small_crawl).run()))
    home = copy_home(made, tmp_path_factory.mktemp("smoke") / "home")
    return Demo(home, small_crawl, json.loads(report.read_text()))
