"""A night: what is new comes in, what was asked for goes, nothing is made twice, and the report says what happened."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets import nights
from assets.judgements.pages import find
from assets.judgements.said import Said
from assets.judgements.store import Judgements
from assets.lake import Lake
from assets.resources import Progress
from assets.steps.ledger import Ledger
from assets.steps.scopes import scope
from assets.tracking import Record
from orchestration.home import Home, HomeBusy, alone
from orchestration.nightly import run_night
from tests.small_demo import STEMMA, Demo

REPO = Path(__file__).resolve().parents[2]
BUNDLED = REPO / "tests" / "data" / "crawl" / "web-sample-2024"
QUIET = Progress()
OURS = """
name: ours
version: 1
description: FineWeb, surer of the language.
source: our meeting of May
extends: fineweb
rules:
  - {rule: language_score, min: 0.9}
"""


def settings(monkeypatch, home: Path, crawl: Path) -> None:
    """A night in this process sees this home and crawl, and leaves nothing in the environment."""
    for name in ("STEMMA_LAKE", "STEMMA_POLICY", "STEMMA_SUBSCRIPTIONS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": home, "CRAWL": crawl, "RECIPE": "smoke"}.items():
        monkeypatch.setenv(f"STEMMA_{name}", str(value))
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))


@pytest.fixture(scope="module")
def first(tmp_path_factory, block_list_cache):
    """(home, crawl, night): the first night over one small snapshot, and the second, in which nothing was new."""
    base = tmp_path_factory.mktemp("nights")
    home, crawl = base / "home", base / "crawl"
    (crawl / "one").mkdir(parents=True)
    shutil.copy(BUNDLED / "dolma-sample-0000.warc.gz", crawl / "one")
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache)
    with pytest.MonkeyPatch.context() as monkeypatch:
        settings(monkeypatch, home, crawl)
        yield home, crawl, run_night(home, QUIET), run_night(home, QUIET)


@pytest.fixture
def later(first, tmp_path, monkeypatch):
    """(home, crawl): copies of the first night's, to go on from."""
    home, crawl = tmp_path / "home", tmp_path / "crawl"
    shutil.copytree(first[0], home, symlinks=True)
    shutil.copytree(first[1], crawl)
    settings(monkeypatch, home, crawl)
    return home, crawl


def test_first_night_makes_the_data_plane_and_names_the_models(first):
    home, _, night, _ = first
    assert night.succeeded and night.noticed == []
    made = {str(node) for node in night.made}
    assert {"crawl_manifest[one]", "corpus[one]", "corpus_card"} <= made
    assert not {node.asset for node in night.made} & {"tokenizer", "base_model"}
    report, corpus = night.report, Lake(home).scan("corpus").collect()
    assert report["corpus"]["kept"] == report["came"]["kept"] == corpus.height > 0
    assert report["came"]["snapshots"] == ["one"] and report["came"]["files"] == 1
    assert report["came"]["pages"] == report["came"]["kept"] + sum(report["came"]["dropped"].values())
    outdated = {one["asset"]: one for one in report["outdated"]}
    assert outdated["base_model"]["status"] == "missing" and "corpus[one]" not in outdated
    stages = {one["asset"]: one for one in night.cost["by_stage"]}
    assert stages["documents"]["cpu_s"] > 0 and night.cost["total"]["cpu_s"] >= stages["documents"]["cpu_s"]


def test_night_with_nothing_new_makes_nothing_and_says_so(first):
    _, _, before, night = first
    assert night.made == [] and night.succeeded
    assert night.report["night"] == 2 and night.report["made"] == {}
    assert night.report["by_snapshot"] == before.report["by_snapshot"]
    assert [one["kept"] for one in night.report["history"]] == [before.report["corpus"]["kept"]] * 2
    assert "Nothing new" in (night.folder / nights.PAGE).read_text()
    assert (night.folder / nights.PLOT).read_bytes()[:4] == b"\x89PNG"


def test_report_of_the_same_night_has_the_same_bytes_wherever_it_was(first, later):
    home, _ = later
    shutil.rmtree(home / "nights" / "00000002")
    night = run_night(home, QUIET)
    assert night.folder is not None
    for name in (nights.REPORT, nights.PLOT):
        assert (night.folder / name).read_bytes() == (first[3].folder / name).read_bytes()


class Asks(Progress):
    """Somebody asks for a page to be removed while an asset is being made."""

    def __init__(self, home: Path, asset: str, url: str) -> None:
        self.home, self.asset, self.url = home, asset, url

    def begin(self, asset: str, partition: str | None) -> None:
        if asset == self.asset:
            Ledger(self.home).add(scope("url", self.url), "Ann <ann@example.org>", "her page")


@pytest.mark.slow
def test_new_snapshot_costs_itself_and_a_takedown_during_the_refresh_is_applied_before_the_report(later):
    home, crawl = later
    (crawl / "two").mkdir()
    shutil.copy(BUNDLED / "cc-whirlwind.warc.wet.gz", crawl / "two")
    page = Lake(home).scan("corpus").select("doc_id", "url").collect().row(0, named=True)
    kept = {name: Lake(home).version_of(name, snapshot="one") for name in ("annotations", "decisions")}
    night = run_night(home, Asks(home, "decisions", page["url"]))
    assert night.succeeded, night.noticed
    made = [str(node) for node in night.made]
    assert made.count("documents[two]") == 1 and "takedown_reports" in made
    assert night.report["came"]["snapshots"] == ["two"]
    [removed] = night.report["went"]["takedowns"]
    assert removed["number"] == 1 and removed["pages"] == 1 and removed["rows"] > 0
    assert Ledger(home).status(1) == "applied"
    for table in ("documents", "corpus", "duplicate_clusters", "decisions"):
        assert page["doc_id"] not in set(Lake(home).scan(table).select("doc_id").collect()["doc_id"])
    assert all(Lake(home).version_of(name, snapshot="one") != version for name, version in kept.items())
    assert {one["asset"] for one in night.report["outdated"] if one["status"] == "outdated"} == set()


def test_policy_that_changed_is_decided_again_without_reading_the_crawl(later, monkeypatch):
    home, crawl = later
    shutil.rmtree(crawl / "one")
    (crawl / "one").mkdir()
    policy = home / "ours.yaml"
    policy.write_text(OURS)
    monkeypatch.setenv("STEMMA_POLICY", str(policy))
    before = Lake(home).version_of("documents", snapshot="one")
    night = run_night(home, QUIET)
    made = {node.asset for node in night.made}
    assert "decisions" in made and not made & {"crawl_manifest", "documents", "annotations"}
    assert Lake(home).version_of("documents", snapshot="one") == before
    assert any("crawl is away" in one for one in night.noticed)


def test_labels_that_came_are_learnt_in_the_night_and_cost_no_page_while_they_are_too_few(later):
    home, _ = later
    pages, store = find(Lake(home), Lake(home).scan("documents").collect()["doc_id"]), Judgements(home)
    store.add([Said(page, "good") for page in pages.values()], "Ann")
    night = run_night(home, QUIET)
    assert night.succeeded and {str(node) for node in night.made} == {"labels", "quality_classifier"}
    assert Lake(home).scan("labels").collect().height == len(pages) > 20
    assert run_night(home, QUIET).made == []


@pytest.mark.slow
def test_folder_that_went_away_is_not_made_again_every_night(later):
    home, crawl = later
    (crawl / "other").mkdir()
    shutil.copy(BUNDLED / "cc-whirlwind.warc.wet.gz", crawl / "other")
    shutil.rmtree(crawl / "one")
    night = run_night(home, QUIET)
    assert night.succeeded and {node.partition for node in night.made} == {"other", ""}
    assert "one" in night.report["by_snapshot"] and night.report["corpus"]["snapshots"] == 2


def test_crawl_that_is_away_stops_nothing_else_and_the_report_says_so(later, monkeypatch):
    home, _ = later
    monkeypatch.setenv("STEMMA_CRAWL", str(home / "nowhere"))
    page = Lake(home).scan("corpus").select("doc_id", "url").collect().row(0, named=True)
    Ledger(home).add(scope("url", page["url"]), "Ann <ann@example.org>", "her page")
    night = run_night(home, QUIET)
    assert not night.succeeded and "the crawl is away" in night.report["noticed"][0]
    assert Ledger(home).status(1) == "applied"
    assert Lake(home).scan("corpus").filter(pl.col("doc_id") == page["doc_id"]).collect().is_empty()
    # its shard is to be read again, which has to wait
    assert {node.asset for node in night.made} == {"takedown_reports"}


def test_source_that_is_away_stops_nothing_else(later):
    home, _ = later
    (home / "subscriptions.yaml").write_text(
        "subscriptions:\n  - {name: web, follow: newest, source: /nowhere, per_night: {records: 3}}\n"
    )
    night = run_night(home, QUIET)
    [said] = night.report["noticed"]
    assert said.startswith("what is published cannot be looked up: ") and "/nowhere" in said
    assert night.report["night"] == 3 and not night.succeeded


def test_mlflow_that_is_away_holds_no_night_up_and_is_told_in_the_next(later, monkeypatch):
    home, _ = later
    work = home / "work" / "base_model" / "trained"
    work.mkdir(parents=True)
    tags = {"dagster.run_id": "r", "dagster.asset_key": "base_model", "dagster.partition": "", "stemma.home": "h"}
    Record("base_model", "base_model-trained", {"seed": "0"}, tags, [], outcome="FAILED").write(work)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert run_night(home, QUIET).succeeded and not Record.read(work).complete
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert run_night(home, QUIET).succeeded and Record.read(work).complete


def test_second_night_at_once_ends_and_doubles_nothing(later):
    home, _ = later
    with alone(Home(home), "night"), pytest.raises(HomeBusy, match=r"another night \(process \d+\) works in"):
        run_night(home, QUIET)
    assert len(list((home / "nights").iterdir())) == 2


class Removes(Progress):
    """A file goes away while its snapshot is being made."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, asset: str, partition: str | None) -> None:
        if asset == "documents" and partition == self.path.parent.name:
            self.path.unlink()


@pytest.mark.slow
def test_failed_snapshot_stops_no_other_and_ends_the_night_without_success(later):
    home, crawl = later
    for name in ("broken", "good"):
        (crawl / name).mkdir()
        shutil.copy(BUNDLED / "cc-whirlwind.warc.wet.gz", crawl / name)
    night = run_night(home, Removes(crawl / "broken" / "cc-whirlwind.warc.wet.gz"))
    assert "corpus[good]" in {str(node) for node in night.made} and not night.succeeded
    assert any(one.startswith("broken: ") for one in night.report["noticed"])
    assert any("waits until every snapshot is made" in one for one in night.report["noticed"])
    assert "missing" in night.report["by_snapshot"]["broken"]


KILL_AT = {
    "a page shard is finished": "work/shards/documents/*/record.json",
    "decisions are committed": "lake/decisions/_delta_log/*.json",
    "the corpus is committed": "lake/corpus/_delta_log/*.json",
}


@pytest.mark.slow
def test_night_killed_on_the_way_and_started_again_ends_with_the_same_tables_and_report(first, tmp_path):
    home, crawl, night, _ = first
    again = Demo(tmp_path / "home", crawl)
    again.home.mkdir()
    (again.home / "cache").symlink_to(home / "cache")
    command = [*STEMMA, "nightly", "--json"]
    environment = again.environment | {"STEMMA_RECIPE": "smoke"}
    killed = [sign for sign in KILL_AT.values() if kill_when(again.home, command, environment, sign)]
    assert len(killed) >= 2
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)["report"]
    assert report["by_snapshot"] == night.report["by_snapshot"]
    assert report["corpus"] == night.report["corpus"] and report["night"] == 1


def kill_when(home: Path, command: list[str], environment: dict[str, str], sign: str) -> bool:
    """Starts a command and kills all of it as soon as the sign appears; False when it ended before."""
    process = subprocess.Popen(
        command, cwd=REPO, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and not set(home.glob(sign)):
        time.sleep(0.02)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def test_damaged_last_report_is_named_before_anything_is_done(later):
    home, _ = later
    (home / "nights" / "00000002" / nights.REPORT).write_text("{")
    with pytest.raises(nights.NightUnreadable, match="00000002"):
        run_night(home, QUIET)


def test_nights_are_runs_that_dagster_shows(first):
    _, _, _, night = first
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(dg.RunsFilter(tags={"stemma/started_by": "night"}))
        assert {run.job_name for run in runs} == {"curation", "pages", "models", "report"}
        event = instance.get_latest_materialization_event(dg.AssetKey(["refresh_report"]))
        assert event is not None and event.asset_materialization is not None
        shown = event.asset_materialization.metadata
        assert str(shown["corpus_by_night"].value).startswith("![corpus by night](data:image/png;base64,")
        assert shown["night"].value == 2
    assert night.folder is not None and json.loads((night.folder / nights.REPORT).read_text()) == night.report
