"""A curator's way: funnel, rule, another threshold, a saved version, a run in a real Dagster, a changed funnel."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import polars as pl
import pytest
from fastapi.testclient import TestClient

from assets import policy as policies
from assets.lake import Lake
from orchestration.pages.app import build
from orchestration.pages.settings import PageSettings
from orchestration.runs import ASKED_BY
from tests.orchestration.pages.conftest import token_in
from tests.orchestration.pages.serving import dagster_of
from tests.orchestration.pages.test_funnel import figures
from tests.small_demo import copy_home

pytestmark = pytest.mark.slow
LONGEST_S = 900


@pytest.fixture
def home(smoke, tmp_path) -> Path:
    copy = tmp_path / "home"
    copy_home(smoke.home, copy)
    return copy


@pytest.fixture
def client(smoke, home, tmp_path, pages_of) -> Iterator[TestClient]:
    pages_of(home)  # the environment
    settings = {"STEMMA_CRAWL": str(smoke.crawl), "STEMMA_RECIPE": "smoke"}
    with dagster_of(home, settings, tmp_path / "dagster.log", sensors=False) as address:
        yield TestClient(build(PageSettings(home, dagster=address)), follow_redirects=True)


def use(client: TestClient, policy: str, snapshot: str) -> str:
    """Uses the policy as its page's form does; the page of the run once it is over."""
    page = client.get(f"/policy/{policy}").text
    answer = client.post(f"/policy/{policy}/use", data={"token": token_in(page), "snapshot": snapshot})
    assert answer.status_code == 200, answer.text
    address, deadline = str(answer.url), time.monotonic() + LONGEST_S
    while not re.search(r'data-testid="run-state">(success|failed|canceled)<', answer.text):
        assert time.monotonic() < deadline, answer.text
        time.sleep(2)
        answer = client.get(address, headers={"hx-request": "true"})
    assert ">success<" in answer.text, answer.text
    return answer.text


def test_from_the_funnel_to_a_changed_funnel(client, home):
    before = client.get("/").text
    kept = figures(before, "kept")
    assert 'href="/filter/line_punct_ratio"' in before
    tried = client.get("/filter/line_punct_ratio?min=0.5").text
    lost, won = figures(tried, "lost"), figures(tried, "won")
    assert lost > 0 and won == 0
    fields = dict(
        re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)">', tried.split('action="/policy/save"')[1])
    )
    fields |= {"name": "ours", "by": "Ann", "why": "lines without an end", "token": token_in(tried)}
    saved = client.post("/policy/save", data=fields)
    assert urlsplit(str(saved.url)).path == "/policy/ours@1" and figures(client.get("/").text, "kept") == kept

    ended = use(client, "ours@1", "")
    then = re.search(r'<a class="button" href="([^"]+)">', ended)
    assert then, ended
    after = client.get(then[1]).text
    said = Lake(home).scan("decisions").select("policy", "verdict", "reason").collect()
    assert said["policy"].unique().to_list() == ["ours@1"]
    assert "Rules of ours@1" in after and "The home goes by" not in after
    decided = policies.effect(_annotated(home), policies.load("fineweb"), policies.load("ours@1", home)).to_json()
    assert decided["dropped_now"] == lost
    assert figures(after, "kept") == Lake(home).scan("corpus").select(pl.len()).collect().item() < kept
    assert "pages came" in after and "went" in after, "what changed since the version before is said"
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(dg.RunsFilter(tags={ASKED_BY: "page"}))
        partitions = {run.tags["dagster/partition"] for run in runs if "dagster/partition" in run.tags}
        assert partitions == set(snapshots(home))
        assert all(run.tags["stemma/why"] == "policy ours@1" for run in runs)


def test_one_snapshot_is_one_run_up_to_the_card(client, home):
    html = client.get("/filter/gopher_short_doc?min=300").text
    data = {"token": token_in(html), "parent": "fineweb@1", "name": "ours", "by": "Bob", "why": "longer pages"}
    client.post("/policy/save", data={**data, "set": "gopher_short_doc.min=300.0"})
    first, *others = snapshots(home)
    use(client, "ours@1", first)
    said = Lake(home).scan("decisions").select("snapshot", "policy").unique().collect().rows()
    assert dict(said) == {first: "ours@1", **dict.fromkeys(others, "fineweb@1")}
    with dg.DagsterInstance.get() as instance:
        [run] = instance.get_runs(dg.RunsFilter(tags={ASKED_BY: "page"}))
        made = instance.get_latest_materialization_event(dg.AssetKey(["corpus_card"]))
        assert made is not None and made.run_id == run.run_id


def snapshots(home: Path) -> list[str]:
    return Lake(home).scan("documents").select("snapshot").unique().sort("snapshot").collect()["snapshot"].to_list()


def _annotated(home: Path) -> pl.LazyFrame:
    from assets.steps.decide import annotated

    return annotated(Lake(home))
