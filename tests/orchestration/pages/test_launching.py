"""What pages start in a real Dagster, how they say it stands, and what they say where none answers."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from fastapi.testclient import TestClient

from orchestration.home import prepare
from orchestration.pages.app import build
from orchestration.pages.launching import (
    WHY,
    DagsterAway,
    LaunchRefused,
    RunState,
    UnknownRun,
    command_for,
    launch,
    own_address,
    state,
)
from orchestration.pages.rendering import Renderer
from orchestration.pages.settings import PageSettings
from orchestration.pages.shelf import Shelf
from orchestration.pages.site import Site
from orchestration.runs import ASKED_BY
from tests.orchestration.pages.serving import REPO, dagster_of, free_port

BUNDLED = REPO / "tests" / "data" / "crawl" / "web-sample-2024" / "dolma-sample-0000.warc.gz"
LONGEST_S = 900


def site_at(home: Path, dagster: str) -> Site:
    settings = PageSettings(home, dagster=dagster)
    return Site(settings, Shelf(home), Renderer(settings))


@pytest.fixture(scope="module")
def at_work(tmp_path_factory, block_list_cache) -> Iterator[tuple[Site, dg.DagsterInstance]]:
    """A home with two small snapshots that nothing was made of, and a Dagster that works in it."""
    base = tmp_path_factory.mktemp("launching")
    home, crawl = base / "home", base / "crawl"
    for snapshot in ("one", "two"):
        (crawl / snapshot).mkdir(parents=True)
        shutil.copy(BUNDLED, crawl / snapshot)
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache)
    settings = {"STEMMA_CRAWL": str(crawl), "STEMMA_RECIPE": "smoke"}
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("STEMMA_HOME", "DAGSTER_HOME"):
            monkeypatch.setenv(name, "")
        prepare(home)
        with dg.DagsterInstance.get() as instance:
            instance.add_dynamic_partitions("snapshot", ["one", "two"])
            with dagster_of(home, settings, base / "dagster.log", sensors=False) as address:
                yield site_at(home, address), instance


def ended(site: Site, run_id: str) -> RunState:
    deadline = time.monotonic() + LONGEST_S
    while not (found := state(site, run_id)).is_over:
        assert time.monotonic() < deadline, found
        time.sleep(1)
    return found


@pytest.mark.slow
def test_a_run_is_made_in_dagster_and_says_who_asked_and_why(at_work):
    site, instance = at_work
    [launched] = launch(
        site, assets=["crawl_fetches", "crawl_manifest"], partitions=["one"], why="a look at\x1b[2J one"
    )
    assert launched.url == f"{site.settings.dagster}/runs/{launched.run_id}"
    assert ended(site, launched.run_id).state == "success"
    tags = instance.get_run_by_id(launched.run_id).tags
    assert tags[ASKED_BY] == "page" and tags["dagster/partition"] == "one"
    assert tags[WHY] == "a look at\\x1b[2J one"
    made = instance.get_materialized_partitions(dg.AssetKey(["crawl_manifest"]))
    assert made == {"one"}

    client = TestClient(build(site.settings))
    page = client.get(f"/run/{launched.run_id}", params={"then": "/?snapshot=one"})
    assert "success" in page.text and 'href="/?snapshot=one"' in page.text and launched.url in page.text
    assert "hx-trigger" not in page.text, "what is over is not asked about again"
    panel = client.get(f"/run/{launched.run_id}", headers={"hx-request": "true"}).text
    assert "<html" not in panel and "success" in panel


@pytest.mark.slow
def test_several_snapshots_are_one_backfill(at_work):
    site, instance = at_work
    [launched] = launch(site, assets=["crawl_fetches"], partitions=["one", "two"], why="both")
    assert launched.url.endswith(f"/runs/b/{launched.run_id}")
    assert ended(site, launched.run_id).state == "success"
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": launched.run_id}))
    assert {run.tags["dagster/partition"] for run in runs} == {"one", "two"}
    assert {run.tags[ASKED_BY] for run in runs} == {"page"}


@pytest.mark.slow
def test_what_dagster_refuses_is_told_in_its_words(at_work):
    site, _ = at_work
    with pytest.raises(LaunchRefused, match="three"):
        launch(site, assets=["crawl_fetches"], partitions=["three"], why="no such snapshot")
    with pytest.raises(LaunchRefused, match="no_such_asset"):
        launch(site, assets=["no_such_asset"], why="no such asset")


@pytest.mark.slow
def test_unknown_runs_are_pages_that_say_so(at_work):
    site, _ = at_work
    client = TestClient(build(site.settings))
    for run_id in ("00000000-0000-0000-0000-000000000000", "abcdefgh", "../../etc", "x" * 5000, "<script>"):
        answer = client.get(f"/run/{run_id}")
        assert answer.status_code == 404 and "<script>" not in answer.text
    with pytest.raises(UnknownRun):
        state(site, "0' OR '1'='1")


def test_a_dagster_that_is_away_names_the_command_that_starts_it_and_the_one_that_does_without(tmp_path):
    site = site_at(tmp_path, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(DagsterAway, match="make ui") as away:
        launch(site, assets=["decisions", "corpus_card"], partitions=["a b"], why="")
    assert away.value.command == command_for(["decisions", "corpus_card"], ["a b"])
    assert "--select decisions,corpus_card --partition 'a b'" in str(away.value)
    answer = TestClient(build(site.settings)).get("/run/00000000-0000-0000-0000-000000000000")
    assert answer.status_code == 503 and "make ui" in answer.text


@pytest.mark.slow
def test_the_command_line_makes_what_the_page_would(at_work):
    _, instance = at_work
    command = command_for(["crawl_fetches"], ["two"])
    assert command.startswith("dagster ")
    before = len(instance.get_runs())
    done = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(instance.get_runs()) == before + 1


@pytest.mark.slow
def test_a_server_that_is_not_dagster_is_away(at_work, tmp_path):
    site, _ = at_work
    with pytest.raises(DagsterAway):
        state(site_at(tmp_path, f"{site.settings.dagster}/server_info"), "abcdefgh")


@pytest.mark.parametrize(
    "given", ["//evil.example/x", "https://evil.example", "/\\evil.example", "javascript:1", "", "/a b"]
)
def test_only_addresses_of_these_pages_are_linked_to(given):
    assert own_address(given) is None
    assert own_address("/?snapshot=one") == "/?snapshot=one"


@pytest.mark.slow
def test_names_of_graphql_stay_in_the_document(at_work):
    """What a page hands over travels as variables: nothing of it is ever a part of the query."""
    site, _ = at_work
    with pytest.raises(LaunchRefused, match="no asset"):
        launch(site, assets=['x"}) { run { runId } } } #'], why='"}')
