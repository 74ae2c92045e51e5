"""The code location loads, automation is gated by soundness, and new snapshots are discovered."""

import datetime
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from assets.conventions import REFRESH_WHEN_SOUND, TRAIN_WEEKLY_WHEN_SOUND
from assets.crawl_roots import CrawlMissing, listing, snapshots
from assets.resources import CrawlResource
from orchestration.definitions import SENSORS
from orchestration.schedules import nightly
from orchestration.sensors import snapshot_discovery

REPO = Path(__file__).resolve().parents[2]
FRIDAY = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)


def test_workspace_validates(tmp_path):
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    done = subprocess.run(
        command, cwd=REPO, capture_output=True, text=True, env={"DAGSTER_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, done.stderr
    assert "PreviewWarning" not in done.stderr


def graph(passes: dict[str, bool], condition: dg.AutomationCondition):
    snapshots_def = dg.DynamicPartitionsDefinition(name="snapshot")

    @dg.asset(partitions_def=snapshots_def)
    def pages() -> None: ...

    @dg.asset_check(asset=pages, blocking=True, partitions_def=snapshots_def)
    def sound(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passes[context.partition_key])

    @dg.asset(partitions_def=snapshots_def, deps=[pages], automation_condition=condition)
    def corpus() -> None: ...

    return dg.Definitions(assets=[pages, corpus], asset_checks=[sound], executor=dg.in_process_executor)


def make_pages(built: dg.Definitions, instance: dg.DagsterInstance, partition: str) -> None:
    built.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, partition_key=partition, asset_selection=[dg.AssetKey(["pages"])], raise_on_error=False
    )


def test_refresh_asks_only_for_partitions_whose_inputs_are_sound():
    built = graph({"A": False, "B": True}, REFRESH_WHEN_SOUND)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("snapshot", ["A", "B"])
        first = dg.evaluate_automation_conditions(defs=built, instance=instance)
        for partition in ("A", "B"):
            make_pages(built, instance, partition)
        second = dg.evaluate_automation_conditions(defs=built, instance=instance, cursor=first.cursor)
        assert second.get_requested_partitions(dg.AssetKey(["corpus"])) == {"B"}


def test_training_waits_for_the_week_to_turn():
    @dg.asset
    def shards() -> None: ...

    @dg.asset(deps=[shards], automation_condition=TRAIN_WEEKLY_WHEN_SOUND)
    def model() -> None: ...

    built = dg.Definitions(assets=[shards, model], executor=dg.in_process_executor)
    key = dg.AssetKey(["model"])
    with dg.DagsterInstance.ephemeral() as instance:
        start = dg.evaluate_automation_conditions(defs=built, instance=instance, evaluation_time=FRIDAY)
        job = built.resolve_implicit_global_asset_job_def()
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(["shards"])])
        same_day = dg.evaluate_automation_conditions(
            defs=built, instance=instance, cursor=start.cursor, evaluation_time=FRIDAY + datetime.timedelta(hours=1)
        )
        assert same_day.get_num_requested(key) == 0


def test_sensors_and_schedule_run_without_being_switched_on():
    assert {sensor.default_status for sensor in SENSORS} == {dg.DefaultSensorStatus.RUNNING}
    assert {sensor.name for sensor in SENSORS} == {
        "snapshot_discovery",
        "automation",
        "ledger_watcher",
        "label_watcher",
        "policy_watcher",
    }
    assert nightly.default_status == dg.DefaultScheduleStatus.RUNNING


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    for name in ("2024-10", "2024-18"):
        folder = tmp_path / "crawl" / name
        folder.mkdir(parents=True)
        (folder / "a.warc.gz").write_bytes(b"\x1f\x8b")
        (folder / "notes.txt").write_text("not a crawl file")
    (tmp_path / "crawl" / "empty").mkdir()
    return tmp_path / "crawl"


def test_snapshots_are_the_folders_that_hold_warc_files(crawl):
    assert snapshots(str(crawl)) == ["2024-10", "2024-18"]
    assert listing(str(crawl), "2024-10") == [("2024-10/a.warc.gz", 2)]


def test_missing_crawl_is_named(tmp_path):
    with pytest.raises(CrawlMissing, match="nowhere"):
        snapshots(str(tmp_path / "nowhere"))
    with pytest.raises(CrawlMissing, match="2024-51"):
        listing(str(tmp_path), "2024-51")


def test_discovery_adds_new_snapshots_once(crawl):
    resources = {"crawl": CrawlResource(root=str(crawl))}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("snapshot", ["2024-10"])
        with dg.build_sensor_context(instance=instance, resources=resources) as context:
            found = snapshot_discovery(context)
            assert isinstance(found, dg.SensorResult) and found.dynamic_partitions_requests
            assert list(found.dynamic_partitions_requests[0].partition_keys) == ["2024-18"]
            instance.add_dynamic_partitions("snapshot", ["2024-18"])
            assert isinstance(snapshot_discovery(context), dg.SkipReason)
