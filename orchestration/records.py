"""What Dagster's event log says of many nodes at once: their newest materialization, and which of their checks passed.

Its SQLite store opens the file anew for every question (2 ms of CPU), so there are few: what an asset was last, and
what a check said last, is asked of all at once. Only where that answer is about another partition is the asset, or the
check, asked by itself, for all partitions together.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from orchestration.history import WHOLE, Made, Place

if TYPE_CHECKING:
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
    from dagster._core.storage.event_log.base import EventLogStorage

AT_ONCE = 500  # records in one answer; Dagster gives no more than 1,000


class DagsterHistory:
    """A History (orchestration/history.py) from an event log, wherever Dagster keeps it."""

    def __init__(self, log: "EventLogStorage") -> None:
        self._log = log

    def partitions(self, name: str) -> list[str]:
        """See History."""
        return list(self._log.get_dynamic_partitions(name))

    def newest(self, wanted: Mapping[str, Sequence[str]]) -> dict[Place, Made]:
        """See History."""
        return {place: _made(record) for place, record in newest(self._log, wanted).items()}

    def verdicts(
        self, checks: Mapping[str, Iterable[str]], since: Mapping[Place, float]
    ) -> dict[tuple[str, str, str], bool]:
        """See History."""
        return verdicts(self._log, checks, since)


def _made(record: dg.EventLogRecord) -> Made:
    event = record.asset_materialization
    assert event is not None
    metadata = {name: entry.value for name, entry in event.metadata.items()}
    return Made(record.storage_id, record.timestamp, record.run_id, event.tags or {}, metadata)


def newest(log: "EventLogStorage", wanted: Mapping[str, Sequence[str]]) -> dict[Place, dg.EventLogRecord]:
    """The record of what DagsterHistory.newest answers."""
    found: dict[Place, dg.EventLogRecord] = {}
    for row in log.get_asset_records([dg.AssetKey.from_user_string(asset) for asset in wanted]):
        key, last = row.asset_entry.asset_key, row.asset_entry.last_materialization_record
        asset = key.to_user_string()
        if last is None:
            continue
        if list(wanted[asset]) == [WHOLE]:
            found[asset, WHOLE] = last
            continue
        others = set(wanted[asset])
        if last.partition_key in others:
            found[asset, last.partition_key] = last
            others.remove(last.partition_key)
        for record in _by_partition(log, key, others):
            found[asset, record.partition_key or WHOLE] = record
    return found


def _by_partition(log: "EventLogStorage", key: dg.AssetKey, partitions: set[str]) -> Iterator[dg.EventLogRecord]:
    """The newest materialization of each of these partitions of an asset."""
    if not partitions:
        return
    newest_ids = log.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    ids = sorted(number for partition, number in newest_ids.items() if partition in partitions)
    for first in range(0, len(ids), AT_ONCE):
        chosen = dg.AssetRecordsFilter(key, storage_ids=ids[first : first + AT_ONCE])
        yield from log.fetch_materializations(chosen, limit=AT_ONCE).records


def verdicts(
    log: "EventLogStorage", checks: Mapping[str, Iterable[str]], since: Mapping[Place, float]
) -> dict[tuple[str, str, str], bool]:
    """See History.verdicts."""
    said: dict[tuple[str, str, str], bool] = {}
    open_: dict[dg.AssetCheckKey, dict[str, float]] = {}
    for (asset, partition), moment in since.items():
        for name in checks.get(asset, ()):
            open_.setdefault(dg.AssetCheckKey(dg.AssetKey.from_user_string(asset), name), {})[partition] = moment
    last = {key: row for key, row in log.get_latest_asset_check_execution_by_key(list(open_)).items() if key in open_}
    for key, row in last.items():
        _settle(said, open_, key, row)
    for key in [key for key in last if open_[key]]:
        for row in _history(log, key):
            _settle(said, open_, key, row)
            if not open_[key]:
                break
    return said


def _settle(
    said: dict[tuple[str, str, str], bool],
    open_: Mapping[dg.AssetCheckKey, dict[str, float]],
    key: dg.AssetCheckKey,
    row: "AssetCheckExecutionRecord",
) -> None:
    """Takes the verdict of an execution, if it ended and its node, made before, waits for one."""
    partition, waiting = row.partition or WHOLE, open_[key]
    if row.event is None or row.status.value not in ("SUCCEEDED", "FAILED"):
        return
    if partition in waiting and row.event.timestamp >= waiting[partition]:
        said[key.asset_key.to_user_string(), partition, key.name] = row.status.value == "SUCCEEDED"
        del waiting[partition]


def _history(log: "EventLogStorage", key: dg.AssetCheckKey) -> "Iterator[AssetCheckExecutionRecord]":
    """All executions of a check, the newest first."""
    before = None
    while rows := log.get_asset_check_execution_history(key, limit=AT_ONCE, cursor=before):
        yield from rows
        before = rows[-1].id
