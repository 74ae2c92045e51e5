"""A real daemon in a prepared home: it runs a night, ends what lost its worker, applies takedowns and keeps pools."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import TickStatus

from assets.lake import Lake
from assets.steps.ledger import Ledger
from assets.steps.scopes import scope
from orchestration.home import prepare
from tests.orchestration.test_nightly import BUNDLED, settings

REPO = Path(__file__).resolve().parents[2]
LONGEST_S = 600
pytestmark = pytest.mark.slow


def until(what: Callable[[], bool]) -> bool:
    """Whether it came true before the test gives up."""
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.5)
    return False


@pytest.fixture
def daemon(tmp_path, monkeypatch, block_list_cache) -> Iterator[tuple[Path, dg.DagsterInstance]]:
    """(home, instance) of a home with one small snapshot, for which a daemon and its code server are at work."""
    home, crawl = tmp_path / "home", tmp_path / "crawl"
    (crawl / "one").mkdir(parents=True)
    (crawl / "one" / "a.warc.gz").write_bytes((BUNDLED / "dolma-sample-0000.warc.gz").read_bytes())
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache)
    settings(monkeypatch, home, crawl)
    prepare(home)
    command = [sys.executable, "-m", "dagster._daemon", "run", "-w", str(REPO / "workspace.yaml")]
    with (tmp_path / "daemon.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=REPO, stdout=log, stderr=log, start_new_session=True)
    try:
        with dg.DagsterInstance.get() as instance:
            yield home, instance
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(300)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def launch(job: str, *more: str) -> None:
    """Queues a run as people do on the command line; the daemon launches it."""
    command = [sys.executable, "-m", "dagster", "job", *more, "-w", str(REPO / "workspace.yaml"), "-j", job]
    subprocess.run(command, cwd=REPO, check=True, capture_output=True)


def runs(instance: dg.DagsterInstance, job: str, *statuses: dg.DagsterRunStatus) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(job_name=job, statuses=list(statuses) or None)))


def pid_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int | None:
    """The process of a run's worker, as Dagster logged it."""
    for event in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        if event.dagster_event is not None and "Started process for run" in (event.dagster_event.message or ""):
            return int(str(event.dagster_event.engine_event_data.metadata["pid"].value))
    return None


def has_ticked(instance: dg.DagsterInstance, sensor: str) -> bool:
    """Whether a sensor has looked at least once, to the end."""
    found = [state for state in instance.all_instigator_state() if state.instigator_name == sensor]
    done = [TickStatus.SKIPPED, TickStatus.SUCCESS]
    return any(instance.get_ticks(state.instigator_origin_id, state.selector_id, statuses=done) for state in found)


def test_daemon_runs_a_night_survives_the_death_of_its_worker_and_applies_a_takedown(daemon):
    home, instance = daemon
    launch("nightly", "launch")
    pids: list[int] = []

    def at_work() -> bool:
        found = [pid_of(instance, run) for run in runs(instance, "nightly", dg.DagsterRunStatus.STARTED)]
        pids.extend(pid for pid in found if pid is not None)
        return bool(pids) and bool(runs(instance, "pages", dg.DagsterRunStatus.STARTED))

    assert until(at_work)
    os.kill(pids[0], signal.SIGKILL)
    failed, success = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS
    assert until(lambda: bool(runs(instance, "nightly", failed))), "the code server notices that the worker is gone"
    assert until(lambda: bool(runs(instance, "nightly", success))), "and the run is tried again"
    assert len(runs(instance, "nightly")) == 2
    assert until(lambda: not runs(instance, "pages", dg.DagsterRunStatus.STARTED))
    page = Lake(home).scan("corpus").select("doc_id", "url").collect().row(0, named=True)
    assert (home / "nights" / "00000001" / "README.md").is_file()

    Ledger(home).add(scope("url", page["url"]), "Ann <ann@example.org>", "her page")
    assert until(lambda: Ledger(home).status(1) == "applied"), "without waiting for the night"
    assert page["doc_id"] not in set(Lake(home).scan("corpus").select("doc_id").collect()["doc_id"])


def test_run_that_waits_for_a_pool_starts_when_the_pool_is_free(daemon):
    home, instance = daemon
    storage = instance.event_log_storage
    instance.event_log_storage.set_concurrency_slots("crawl_download", 1)
    from dagster._core.test_utils import create_run_for_test

    holder = create_run_for_test(instance, job_name="pages", status=dg.DagsterRunStatus.STARTED)
    assert storage.claim_concurrency_slot("crawl_download", holder.run_id, "crawl_manifest").is_claimed
    assert until(lambda: "one" in instance.get_dynamic_partitions("snapshot")), "the sensor finds the snapshot"
    assert until(lambda: has_ticked(instance, "automation")), "what was there at its first look is for the night"
    shutil.copytree(home.with_name("crawl") / "one", home.with_name("crawl") / "two")
    instance.add_dynamic_partitions("snapshot", ["two"])
    assert until(lambda: len(instance.get_runs()) > 1), "automation asks for the new snapshot"
    time.sleep(5)
    key = dg.AssetKey(["crawl_fetches"])
    assert instance.get_latest_materialization_event(key) is None
    instance.report_run_canceled(holder)
    storage.free_concurrency_slots_for_run(holder.run_id)
    assert until(lambda: instance.get_latest_materialization_event(key) is not None)


def test_backfill_by_the_command_of_the_readme_makes_every_snapshot(daemon):
    home, instance = daemon
    crawl = home.with_name("crawl")
    (crawl / "two").mkdir()
    (crawl / "two" / "b.warc.wet.gz").write_bytes((BUNDLED / "cc-whirlwind.warc.wet.gz").read_bytes())
    stop = ["dagster", "sensor", "stop", "automation", "-w", str(REPO / "workspace.yaml")]
    subprocess.run([sys.executable, "-m", *stop], cwd=REPO, check=True, capture_output=True)
    instance.add_dynamic_partitions("snapshot", ["one", "two"])
    [command] = re.findall(r"`(dagster job backfill [^`]*)`", (REPO / "README.md").read_text())
    said = subprocess.run(
        [sys.executable, "-m", *command.split(), "--noprompt"], cwd=REPO, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr[-2000:]

    def filled() -> list[dg.DagsterRun]:
        success = runs(instance, "pages", dg.DagsterRunStatus.SUCCESS)
        return [run for run in success if "dagster/backfill" in run.tags]

    assert until(lambda: len(filled()) == 2), [run.status for run in instance.get_runs()]
    assert {run.tags["dagster/partition"] for run in filled()} == {"one", "two"}
    assert all(Lake(home).version_of("corpus", snapshot=name) for name in ("one", "two"))
