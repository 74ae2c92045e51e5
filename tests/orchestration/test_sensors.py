"""Sensors ask once for what they saw, wait while something works in the home, and take no absence for an error."""

import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.test_utils import create_run_for_test

from assets import policy as policies
from assets.judgements.said import Page, Said
from assets.judgements.store import Judgements
from assets.occupied import HomeInUse, taking_out, working
from assets.resources import CrawlResource, LakeResource, RecipeResource
from assets.steps.ledger import REPORT, Ledger
from assets.steps.scopes import scope
from orchestration.runs import ASKED_BY, PAGE, end_killed_runs
from orchestration.schedules import nightly
from orchestration.sensors import ATTEMPTS, label_watcher, ledger_watcher, policy_watcher, snapshot_discovery

STARTED = dg.DagsterRunStatus.STARTED
POLICY = """
name: ours
version: 1
description: FineWeb, surer of the language.
source: our meeting of May
extends: fineweb
rules:
  - {rule: language_score, min: %s}
"""


@pytest.fixture
def instance(tmp_path):
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as made:
        yield made


def ticks(sensor, instance: dg.DagsterInstance, resources, times: int):
    """What a sensor says at each of some ticks, each with the cursor that the one before left."""
    cursor, said = None, []
    for _ in range(times):
        with dg.build_sensor_context(instance=instance, resources=resources, cursor=cursor) as context:
            said.append(sensor(context))
        cursor = said[-1].cursor if isinstance(said[-1], dg.SensorResult) else cursor
    return said


def requests(said) -> list[dg.RunRequest]:
    return [one for each in said if isinstance(each, dg.SensorResult) for one in each.run_requests or []]


def ask(home, host: str) -> int:
    entry, _ = Ledger(home).add(scope("host", host), "Ann <ann@example.org>", "her pages")
    return entry.number


def test_new_takedown_starts_its_application_and_an_applied_one_starts_nothing(instance, tmp_path):
    resources = {"lake": LakeResource(home=str(tmp_path))}
    assert requests(ticks(ledger_watcher, instance, resources, 2)) == []
    number = ask(tmp_path, "example.org")
    [said] = ticks(ledger_watcher, instance, resources, 1)
    assert [request.run_key for request in requests([said])] == ["takedowns-1:1"]
    Ledger(tmp_path).write(number, REPORT, {})
    assert requests(ticks(ledger_watcher, instance, resources, 2)) == []


def test_takedown_that_cannot_be_applied_is_tried_a_bounded_number_of_times(instance, tmp_path):
    resources = {"lake": LakeResource(home=str(tmp_path))}
    ask(tmp_path, "example.org")
    asked = requests(ticks(ledger_watcher, instance, resources, ATTEMPTS + 3))
    assert len({request.run_key for request in asked}) == len(asked) == ATTEMPTS


def test_takedown_waits_while_a_run_is_at_work(instance, tmp_path):
    ask(tmp_path, "example.org")
    run = create_run_for_test(instance, job_name="pages", status=STARTED)
    [said] = ticks(ledger_watcher, instance, {"lake": LakeResource(home=str(tmp_path))}, 1)
    assert isinstance(said, dg.SkipReason) and run.run_id in str(said.skip_message)


def test_labels_are_put_into_the_table_once_until_somebody_says_more(instance, tmp_path):
    resources, store = {"lake": LakeResource(home=str(tmp_path))}, Judgements(tmp_path)
    assert requests(ticks(label_watcher, instance, resources, 2)) == []
    store.add([Said(Page("p", "A", "https://a.org/p", "0", "text"), "good")], "Ann")
    [asked] = requests(ticks(label_watcher, instance, resources, 3))
    assert asked.asset_selection == [dg.AssetKey(["labels"])]  # nothing is trained
    store.undo("Ann")
    [again] = requests(ticks(label_watcher, instance, resources, 3))
    assert again.run_key != asked.run_key


def test_policy_is_asked_about_once_until_it_changes(instance, tmp_path, monkeypatch):
    monkeypatch.setenv("STEMMA_HOME", str(tmp_path))
    monkeypatch.setenv("STEMMA_CRAWL", str(tmp_path))
    policy = tmp_path / "ours.yaml"
    policy.write_text(POLICY % 0.8)
    monkeypatch.setenv("STEMMA_POLICY", str(policy))
    resources = {"lake": LakeResource(home=str(tmp_path)), "recipe": RecipeResource(name="smoke")}
    first, second = ticks(policy_watcher, instance, resources, 2)
    assert isinstance(first, dg.SensorResult) and first.cursor and isinstance(second, dg.SkipReason)
    policy.write_text(POLICY % 0.9)
    with dg.build_sensor_context(instance=instance, resources=resources, cursor=first.cursor) as context:
        changed = policy_watcher(context)
    assert isinstance(changed, dg.SensorResult) and changed.cursor and changed.cursor.startswith("2:")


def test_policy_that_the_home_chooses_is_asked_about_after_the_run_that_a_page_started(instance, tmp_path, monkeypatch):
    for name, value in {"HOME": tmp_path, "CRAWL": tmp_path}.items():
        monkeypatch.setenv(f"STEMMA_{name}", str(value))
    monkeypatch.delenv("STEMMA_POLICY", raising=False)
    resources = {"lake": LakeResource(home=str(tmp_path)), "recipe": RecipeResource(name="smoke")}
    [first] = ticks(policy_watcher, instance, resources, 1)
    assert isinstance(first, dg.SensorResult) and first.cursor
    policies.save(
        tmp_path,
        "ours",
        "fineweb",
        policies.what_if(policies.load("fineweb"), ["language_score.min=0.8"]),
        by="Ann",
        why="y",
    )
    policies.choose(tmp_path, "ours")

    def look() -> dg.SensorResult | dg.SkipReason:
        with dg.build_sensor_context(instance=instance, resources=resources, cursor=first.cursor) as context:
            return policy_watcher(context)  # type: ignore[return-value]

    run = create_run_for_test(instance, job_name="pages", status=STARTED, tags={ASKED_BY: PAGE})
    waits = look()
    assert isinstance(waits, dg.SkipReason) and run.run_id in str(waits.skip_message)
    instance.report_run_canceled(run)
    after = look()
    assert isinstance(after, dg.SensorResult) and after.cursor and after.cursor.startswith("2:")


def test_crawl_that_is_away_is_a_reason_to_skip(instance, tmp_path):
    [said] = ticks(snapshot_discovery, instance, {"crawl": CrawlResource(root=str(tmp_path / "nowhere"))}, 1)
    assert isinstance(said, dg.SkipReason) and "is not a folder" in str(said.skip_message)


def test_folder_without_a_crawl_file_is_no_snapshot_yet(instance, tmp_path):
    (tmp_path / "fetching").mkdir()
    [said] = ticks(snapshot_discovery, instance, {"crawl": CrawlResource(root=str(tmp_path))}, 1)
    assert isinstance(said, dg.SkipReason)


def test_night_is_not_asked_for_while_one_is_at_work(instance):
    with dg.build_schedule_context(instance=instance) as context:
        assert isinstance(nightly(context), dg.RunRequest)
        run = create_run_for_test(instance, job_name="nightly", status=STARTED)
        said = nightly(context)
    assert isinstance(said, dg.SkipReason) and run.run_id in str(said.skip_message)


def test_run_whose_process_is_gone_is_ended_and_one_at_work_is_not(instance):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    alive = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    runs = {}
    for process in (ended, alive):
        run = create_run_for_test(instance, job_name="pages", status=STARTED)
        instance.report_engine_event("Started process for run", run, EngineEventData.in_process(process.pid))
        runs[process.pid] = run.run_id
    killed = create_run_for_test(instance, job_name="pages", status=STARTED, tags={"stemma/started_by": "night"})
    end_killed_runs(instance)
    status = {run.run_id: run.status for run in instance.get_runs()}
    assert status[runs[ended.pid]] == status[killed.run_id] == dg.DagsterRunStatus.CANCELED
    assert status[runs[alive.pid]] == STARTED
    alive.communicate(b"\n")


def test_takedown_has_the_home_alone_and_assets_share_it(tmp_path):
    with working(tmp_path), working(tmp_path), pytest.raises(HomeInUse, match="being made"), taking_out(tmp_path):
        pass
    with taking_out(tmp_path):
        pass
