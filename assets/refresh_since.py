"""What happened since the last night's report: from the event log, the ledger of takedowns and the tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from assets.configs import digest
from assets.lake import Lake
from assets.refresh_account import accounts, difference, total
from assets.steps.ledger import REPORT, Ledger

RECORDS = ("refresh_report", "takedown_reports")
PAGE = 500  # events read at once
NIGHTS_KEPT = 400  # rows of the history
SPENT = {  # measurement: the metadata entry that holds it
    "cpu_s": "stemma/cpu_s",
    "wall_s": "stemma/wall_s",
    "written_bytes": "stemma/bytes",
    "moved_bytes": "stemma/moved_bytes",
    "requests": "stemma/moved_requests",
    "usd": "stemma/cost_usd",
}


def since(
    lake: Lake,
    instance: dg.DagsterInstance,
    snapshots: Sequence[str],
    before: tuple[dict[str, Any], dict[str, Any]],
    outdated: list[dict[str, Any]],
    night: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(report, cost) of what happened since the report and cost `before` (empty: since the beginning).

    outdated: rows asset, status, because. night: `noticed`, and what the night spent outside of assets.
    """
    earlier, spent = before
    found = accounts(lake, snapshots, earlier.get("by_snapshot", {}))
    came, went = difference(earlier.get("by_snapshot", {}), found)
    done = applied(lake.local)
    new = [number for number in done if number not in earlier.get("applied", [])]
    went["takedowns"] = [removed(Ledger(lake.local).read(number, REPORT) or {}) for number in new]
    made, stages, cursor = _events(instance, spent.get("cursor", 0))
    corpus, number = total(found), earlier.get("night", 0) + 1
    row = {"night": number, **{name: corpus[name] for name in ("snapshots", "pages", "kept", "kept_bytes")}}
    row |= {"came": came["kept"], "went": went["kept"]}
    report = {
        "night": number,
        "came": came,
        "went": went,
        "corpus": corpus | {"version": digest({name: one["versions"].get("corpus") for name, one in found.items()})},
        "by_snapshot": found,
        "made": made,
        "applied": done,
        "outdated": outdated,
        "noticed": night["noticed"],
        "history": [*earlier.get("history", []), row][-NIGHTS_KEPT:],
    }
    cost = {
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cursor": cursor,
        "by_stage": stages,
        "total": {name: round(sum(one[name] for one in stages), 6) for name in ("made", *SPENT)},
        "night": {name: round(night[name], 3) for name in ("cpu_s", "wall_s")},
    }
    return report | {"digest": digest(report)}, cost


def applied(home: Path) -> list[int]:
    """Numbers of the takedowns that were applied."""
    ledger = Ledger(home)
    return [entry.number for entry in ledger.entries() if ledger.status(entry.number) == "applied"]


def removed(report: dict[str, Any]) -> dict[str, Any]:
    """A takedown's report in figures."""
    changed = [one for one in report["digests"] if one["before"] != one["after"]]
    return {
        "number": report["asked"]["number"],
        "pages": len(report["found"]),
        "rows": sum(report["deleted"].values()),
        "rewritten": len(changed),
        "models": sorted({one["asset"] for one in report["marked"]}),
    }


def _events(instance: dg.DagsterInstance, cursor: int) -> tuple[dict[str, int], list[dict[str, Any]], int]:
    """(how often each asset was made after the cursor, what that cost, the cursor after it)."""
    made: dict[str, int] = {}
    stages, newest = [], cursor
    for key in sorted(instance.all_asset_keys()):
        events = list(_materializations(instance, key, cursor))
        if not events:
            continue
        newest = max(newest, *(storage_id for storage_id, _ in events))
        name = key.to_user_string()
        if name not in RECORDS:
            made[name] = len(events)
        sums = {what: _sum(entry, (metadata for _, metadata in events)) for what, entry in SPENT.items()}
        stages.append({"asset": name, "made": len(events), **sums})
    return made, stages, newest


def _materializations(
    instance: dg.DagsterInstance, key: dg.AssetKey, cursor: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    wanted, page = dg.AssetRecordsFilter(key, after_storage_id=cursor), None
    while True:
        found = instance.fetch_materializations(wanted, limit=PAGE, cursor=page, ascending=True)
        for record in found.records:
            event = record.asset_materialization
            if event is not None:
                yield record.storage_id, {name: entry.value for name, entry in event.metadata.items()}
        if not found.has_more:
            return
        page = found.cursor


def _sum(entry: str, events: Iterable[dict[str, Any]]) -> float:
    return round(sum(event.get(entry) or 0 for event in events), 6)
