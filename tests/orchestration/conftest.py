"""One whole demo with the smoke recipe on a part of the bundled crawl, run once for all tests that look at it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]
CRAWL = {
    "web-sample-2024": ["web-sample-2024-00000.warc.gz", "cc-whirlwind.warc.wet.gz"],
    "second": ["dolma-sample-0000.warc.gz"],
}


@dataclass(frozen=True)
class Demo:
    """A home, the crawl it was made from, and what the command reported."""

    home: Path
    crawl: Path
    report: dict[str, Any]


def environment(home: Path, crawl: Path) -> dict[str, str]:
    """Nothing of the caller's Stemma, Dagster or MLflow settings leaks in."""
    ours = ("STEMMA_", "DAGSTER_", "MLFLOW_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | {"STEMMA_HOME": str(home), "STEMMA_CRAWL": str(crawl)}


def demo_command() -> list[str]:
    return [sys.executable, "-m", "orchestration.cli", "demo", "--recipe", "smoke", "--json"]


def run_demo(home: Path, crawl: Path) -> dict[str, Any]:
    done = subprocess.run(demo_command(), cwd=REPO, env=environment(home, crawl), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


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
    home = tmp_path_factory.mktemp("smoke") / "home"
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache)
    return Demo(home, small_crawl, run_demo(home, small_crawl))
