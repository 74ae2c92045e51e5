"""What the event log says of many nodes at once is what it says of each by itself, after any history."""

import random
import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import DagsterEvent
from dagster._core.storage.event_log import SqliteEventLogStorage

from orchestration import history, records
from orchestration.standing import INDEX
from tests.orchestration import plain_records as plain

WHOLE, PARTED = ("corpus", "model"), ("crawl", "pages", "texts")
SNAPSHOTS = ["A", "B", "C", "D"]
CHECKS = {"corpus": ["sound"], "pages": ["sound", "accounted"], "texts": ["sound"]}
WANTED = {asset: [""] for asset in WHOLE} | {asset: SNAPSHOTS for asset in PARTED} | {"never": SNAPSHOTS, "ever": [""]}
METADATA = {
    "stemma/inputs": dg.MetadataValue.json({"pages": {"A": "é\u202e", "": None}, "none": []}),
    "text": "x",
    "md": dg.MetadataValue.md("*x*"),
    "path": dg.MetadataValue.path("/x"),
    "url": dg.MetadataValue.url("https://x.example"),
    "int": 3,
    "float": 0.5,
    "flag": True,
}


class Diary:
    """Writes a random history, of an asset or a check at a time, into an instance."""

    def __init__(self, instance: dg.DagsterInstance, seed: int) -> None:
        self.instance, self.chance, self.runs = instance, random.Random(seed), 0

    def write(self, events: int) -> None:
        for _ in range(events):
            asset = self.chance.choice(WHOLE + PARTED)
            partition = self.chance.choice([*SNAPSHOTS, "gone"]) if asset in PARTED else None
            if self.chance.random() < 0.03:
                partition = None if asset in PARTED else "A"  # from a time when it had partitions, or had none
            what = self.chance.choices(["made", "checked", "planned", "wiped"], [6, 8, 3, 0.3])[0]
            getattr(self, what)(asset, partition)

    def made(self, asset: str, partition: str | None) -> None:
        tags = {"dagster/data_version": str(self.chance.random())}
        made = dg.AssetMaterialization(asset, partition=partition, tags=tags, metadata=METADATA)
        self.instance.report_runless_asset_event(made)

    def checked(self, asset: str, partition: str | None) -> None:
        for name in CHECKS.get(asset, ()):
            self.planned(asset, partition, [name])
            passed = self.chance.random() < 0.6
            check = dg.AssetCheckEvaluation(dg.AssetKey([asset]), name, passed, partition=partition)
            self._say(dg.DagsterEventType.ASSET_CHECK_EVALUATION, check)

    def planned(self, asset: str, partition: str | None, names: list[str] | None = None) -> None:
        """An execution that has not ended, and never may."""
        self.runs += 1
        subset = PARTITIONS.subset_with_partition_keys([partition]) if partition else None
        for name in names or CHECKS.get(asset, ()):
            check = {"asset_key": dg.AssetKey([asset]), "check_name": name, "partitions_subset": subset}
            planned = AssetCheckEvaluationPlanned(**check)
            self._say(dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, planned)

    def _say(self, kind: dg.DagsterEventType, data) -> None:
        event = DagsterEvent(kind.value, "a job", message="of a check", event_specific_data=data)
        self.instance.report_dagster_event(event, run_id=f"{self.runs:08d}")

    def wiped(self, asset: str, partition: str | None) -> None:
        self.instance.wipe_assets([dg.AssetKey([asset])])


PARTITIONS = dg.StaticPartitionsDefinition([*SNAPSHOTS, "gone"])


@contextmanager
def opened(kind: str, folder):
    if kind == "in memory":
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance
    else:
        with dg.DagsterInstance.local_temp(str(folder)) as instance:
            yield instance


def numbers(found: dict) -> dict:
    return {place: record.storage_id for place, record in found.items()}


@pytest.mark.parametrize(
    ("kind", "seed", "at_once", "events"),
    [("in memory", 0, 500, 60), ("in memory", 1, 2, 60), ("in memory", 2, 3, 60), ("on disk", 3, 2, 12)],
)
def test_many_nodes_at_once_are_told_what_each_is_told_alone(kind, seed, at_once, events, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "AT_ONCE", at_once)
    with opened(kind, tmp_path) as instance:
        diary, log = Diary(instance, seed), instance.event_log_storage
        assert records.newest(log, WANTED) == {} and records.verdicts(log, CHECKS, {}) == {}
        said: dict = {}
        for _ in range(4):
            diary.write(events)
            made = plain.newest(log, WANTED)
            assert numbers(records.newest(log, WANTED)) == numbers(made)
            as_made = {place: record.timestamp for place, record in made.items()}
            for since in (as_made, dict.fromkeys(made, time.time() - 0.05), dict.fromkeys(made, 0.0)):
                said = plain.verdicts(log, CHECKS, since)
                assert records.verdicts(log, CHECKS, since) == said
            if isinstance(log, SqliteEventLogStorage):
                same_from_the_file(tmp_path, records.DagsterHistory(log), as_made)
        assert set(said.values()) == {True, False}


def same_from_the_file(folder: Path, through_dagster: records.DagsterHistory, since: dict) -> None:
    """What the file says without Dagster."""
    with history.opened(folder / INDEX) as found:
        assert found is not None
        assert found.newest(WANTED) == through_dagster.newest(WANTED)
        assert found.partitions("snapshot") == through_dagster.partitions("snapshot")
        for moments in (since, dict.fromkeys(since, 0.0)):
            assert found.verdicts(CHECKS, moments) == through_dagster.verdicts(CHECKS, moments)


def test_a_file_of_another_revision_or_none_is_not_read(tmp_path):
    with history.opened(tmp_path / "index.db") as found:
        assert found is None
    for revisions in ("", "('00')", f"('{history.REVISION}'), ('00')"):
        with sqlite3.connect(tmp_path / "index.db") as connection:
            connection.execute("DROP TABLE IF EXISTS alembic_version")
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
            if revisions:
                connection.execute(f"INSERT INTO alembic_version VALUES {revisions}")
        with history.opened(tmp_path / "index.db") as found:
            assert found is None
    (tmp_path / "index.db").write_bytes(b"no database")
    with history.opened(tmp_path / "index.db") as found:
        assert found is None


def test_no_more_is_asked_about_many_snapshots_than_about_two(tmp_path, monkeypatch):
    asked = []
    with opened("on disk", tmp_path) as instance:
        log, diary = instance.event_log_storage, Diary(instance, 0)
        for partition in SNAPSHOTS:
            for asset in PARTED:
                diary.made(asset, partition)
                diary.checked(asset, partition)
        assert isinstance(log, SqliteEventLogStorage)
        connect = log.index_connection
        monkeypatch.setattr(log, "index_connection", lambda: asked.append(1) or connect())

        def count(partitions: list[str]) -> int:
            before, nodes = len(asked), dict.fromkeys(PARTED, partitions)
            made = records.newest(log, nodes)
            assert len(made) == len(nodes) * len(partitions)
            said = records.verdicts(log, CHECKS, {place: record.timestamp for place, record in made.items()})
            assert len(said) == 3 * len(partitions)
            return len(asked) - before

        count(SNAPSHOTS)  # what a store asks once of itself
        assert count(SNAPSHOTS[-1:]) < count(SNAPSHOTS[2:]) == count(SNAPSHOTS)
