"""The pages over a home, asked as a browser asks them, but without one."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from assets.lake import Lake
from orchestration.pages.app import build
from orchestration.pages.settings import PageSettings
from orchestration.pages.speaking import NAME, Speaker
from tests.orchestration.pages import voices_home
from tests.small_demo import Demo


def token_in(html: str) -> str:
    """The same-site token that a page of ours carries."""
    found = re.search(r'"x-stemma-token": "([0-9a-f]{64})"', html)
    assert found, "the page carries no same-site token"
    return found[1]


@pytest.fixture
def pages_of(monkeypatch) -> Iterator[Callable[[Path], TestClient]]:
    """A client for the pages of any home; the environment is the home's while the test runs."""

    def make(home: Path, **settings: str) -> TestClient:
        monkeypatch.setenv("STEMMA_HOME", str(home))
        monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        return TestClient(build(PageSettings(home)), follow_redirects=False)

    yield make


@pytest.fixture
def pages(pages_of, smoke: Demo) -> TestClient:
    """The pages of the small demo. Tests must not change that home: copy it (`shutil.copytree`) to change something."""
    return pages_of(smoke.home, STEMMA_CRAWL=str(smoke.crawl))


@pytest.fixture
def empty(pages_of, tmp_path: Path) -> TestClient:
    """The pages of a home in which nothing was made."""
    return pages_of(tmp_path / "home")


@pytest.fixture(scope="session")
def speaking_lake(tmp_path_factory) -> Lake:
    """A home with small models that answer at once (voices_home.py). Tests must not change it."""
    return voices_home.make(tmp_path_factory.mktemp("voices") / "home")


@pytest.fixture(scope="session")
def models_program(tmp_path_factory) -> Iterator[Speaker]:
    """The program beside the pages, one for all tests: it takes seconds to start."""
    speaker = Speaker(tmp_path_factory.mktemp("program") / "models.log")
    yield speaker
    speaker.close()


@pytest.fixture
def asking(pages_of, speaking_lake: Lake, models_program: Speaker) -> TestClient:
    """The pages of that home."""
    client = pages_of(speaking_lake.local)
    client.app.state.site.kept[NAME] = models_program
    return client
