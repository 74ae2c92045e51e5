"""What a look at the graph asks of its history, and the answers straight from Dagster's SQLite file.

Dagster takes a second and a half to import and half a second to open its event log. A command that only asks reads the
file that lies below instead (`SqliteHistory`), read-only and as of one moment, where it is of the revision known here;
for every other storage there is `records.DagsterHistory`, which gives the same answers through Dagster.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

WHOLE = ""  # the partition of an unpartitioned asset
REVISION = "29b539ebc72a"  # of the schema (alembic) that SqliteHistory reads
# the field that holds what a person put in; entries of other kinds (schemas of tables, references) are left out
PLAIN = {"Text": "text", "Json": "data", "Int": "value", "Float": "value", "Bool": "value",
         "Path": "path", "Url": "url", "Markdown": "md_str"}  # fmt: skip

LAST = """
SELECT id, event FROM event_logs WHERE asset_key = ? AND dagster_event_type = 'ASSET_MATERIALIZATION' AND timestamp > ?
ORDER BY id DESC LIMIT 1"""
LAST_OF_PARTITION = """
SELECT id, event FROM event_logs WHERE asset_key = ? AND dagster_event_type = 'ASSET_MATERIALIZATION' AND partition = ?
AND timestamp > ? ORDER BY id DESC LIMIT 1"""

Place = tuple[str, str]  # asset, partition or WHOLE


@dataclass(frozen=True)
class Made:
    """A materialization."""

    number: int  # a later one has a greater number
    timestamp: float  # seconds since the epoch
    run_id: str
    tags: Mapping[str, str]
    metadata: Mapping[str, Any]


class History(Protocol):
    """What was made and checked."""

    def partitions(self, name: str) -> list[str]:
        """The keys that a set of dynamic partitions has now."""
        ...

    def newest(self, wanted: Mapping[str, Sequence[str]]) -> dict[Place, Made]:
        """The newest materialization of each node that has one. wanted: the partitions of each asset, [WHOLE] of one
        without; of such an asset it is the newest of all, also from a time when it had partitions."""
        ...

    def verdicts(
        self, checks: Mapping[str, Iterable[str]], since: Mapping[Place, float]
    ) -> dict[tuple[str, str, str], bool]:
        """(asset, partition, check) → whether it passed, in its newest execution that ended since the node was made.

        checks: names by asset; since: when each node was made, in seconds since the epoch. Without such an execution
        there is no entry.
        """
        ...


class SqliteHistory:
    """A History from the index of Dagster's event log."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        rows = connection.execute("SELECT asset_key, wipe_timestamp FROM asset_keys WHERE wipe_timestamp IS NOT NULL")
        self._wiped: dict[str, str] = dict(rows)

    def partitions(self, name: str) -> list[str]:
        """See History."""
        asked = "SELECT partition FROM dynamic_partitions WHERE partitions_def_name = ? ORDER BY id"
        return [key for (key,) in self._connection.execute(asked, (name,))]

    def newest(self, wanted: Mapping[str, Sequence[str]]) -> dict[Place, Made]:
        """See History."""
        found: dict[Place, Made] = {}
        for asset, partitions in wanted.items():
            for partition in partitions:
                if made := self._last(asset, None if list(partitions) == [WHOLE] else partition):
                    found[asset, partition] = made
        return found

    def _last(self, asset: str, partition: str | None) -> Made | None:
        """The newest materialization of an asset, of one partition or of any, since the asset was wiped."""
        key = _key(asset)
        since = self._wiped.get(key, "")
        if partition is None:
            rows = self._connection.execute(LAST, (key, since))
        else:
            rows = self._connection.execute(LAST_OF_PARTITION, (key, partition, since))
        row = rows.fetchone()
        return None if row is None else _made(row[0], json.loads(row[1]))

    def verdicts(
        self, checks: Mapping[str, Iterable[str]], since: Mapping[Place, float]
    ) -> dict[tuple[str, str, str], bool]:
        """See History."""
        said: dict[tuple[str, str, str], bool] = {}
        for asset, names in checks.items():
            made = {partition: moment for (one, partition), moment in since.items() if one == asset}
            for name in names:
                waiting = dict(made)
                for partition, passed, moment in self._ended(asset, name) if waiting else ():
                    if partition in waiting and moment >= waiting[partition]:
                        said[asset, partition, name] = passed
                        del waiting[partition]
                        if not waiting:
                            break
        return said

    def _ended(self, asset: str, check: str) -> Iterator[tuple[str, bool, float]]:
        """(partition, whether it passed, when) of every execution of a check that ended, the newest first."""
        rows = self._connection.execute(
            "SELECT partition, execution_status, evaluation_event FROM asset_check_executions"
            " WHERE asset_key = ? AND check_name = ? AND evaluation_event IS NOT NULL"
            " AND execution_status IN ('SUCCEEDED', 'FAILED') ORDER BY id DESC",
            (_key(asset), check),
        )
        for partition, status, event in rows:
            yield partition or WHOLE, status == "SUCCEEDED", json.loads(event)["timestamp"]


@contextmanager
def opened(index: Path) -> Iterator[SqliteHistory | None]:
    """The history in an index file, as of one moment; None where there is none of the known revision."""
    try:
        connection = sqlite3.connect(f"{index.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error:
        yield None
        return
    with closing(connection):
        yield SqliteHistory(connection) if _is_known(connection) else None


def _is_known(connection: sqlite3.Connection) -> bool:
    """Begins to read, as of now; whether the schema is the one known here."""
    try:
        connection.execute("BEGIN")
        return connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]
    except sqlite3.Error:
        return False


def _key(asset: str) -> str:
    """An asset's key as Dagster stores it."""
    return json.dumps(asset.split("/"))


def _made(number: int, entry: Mapping[str, Any]) -> Made:
    event = entry["dagster_event"]["event_specific_data"]["materialization"]
    metadata = {}
    for one in event["metadata_entries"]:
        kind = one["entry_data"]["__class__"].removesuffix("MetadataEntryData")
        if kind in PLAIN:
            metadata[one["label"]] = one["entry_data"][PLAIN[kind]]
    return Made(number, entry["timestamp"], entry["run_id"], event["tags"] or {}, metadata)
