"""What the tables hold of every snapshot, and what came and what went between two nights.

Counts come from narrow columns, never from page text, and a snapshot whose tables have the versions of the last account
is not counted again: a night costs what is new.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from assets.lake import Lake
from assets.parts import PartFile, data_version

COUNTED = ("crawl_manifest", "record_counts", "decisions", "duplicate_clusters", "corpus")
TOTALS = ("files", "crawl_bytes", "records", "pages", "kept", "kept_bytes")  # of one snapshot, summed over all

# of one snapshot: TOTALS, skipped and dropped by reason, versions by table; or which tables are missing
Account = dict[str, Any]


def accounts(lake: Lake, snapshots: Iterable[str], before: Mapping[str, Account]) -> dict[str, Account]:
    """The account of every snapshot; those of `before` whose tables have not changed are taken over as they are."""
    held = {table: _by_snapshot(lake, table) for table in COUNTED if lake.exists(table)}
    found: dict[str, Account] = {}
    for snapshot in sorted(snapshots):
        versions = {table: data_version(parts[snapshot]) for table, parts in held.items() if snapshot in parts}
        known = before.get(snapshot)
        if missing := [table for table in COUNTED if table not in versions]:
            found[snapshot] = {"missing": missing, "versions": versions}
        elif known is not None and known["versions"] == versions:
            found[snapshot] = known
        else:
            found[snapshot] = _count(lake, snapshot) | {"versions": versions}
    return found


def total(found: Mapping[str, Account]) -> Account:
    """All snapshots together."""
    whole = {name: sum(one.get(name, 0) for one in found.values()) for name in TOTALS}
    return {"snapshots": len(found), **whole, "dropped": _summed(one.get("dropped", {}) for one in found.values())}


def difference(before: Mapping[str, Account], now: Mapping[str, Account]) -> tuple[Account, Account]:
    """(what came, what went): of each snapshot what rose and what fell, summed; and the snapshots themselves."""
    came: Account = {"snapshots": sorted(set(now) - set(before)), **dict.fromkeys(TOTALS, 0), "dropped": {}}
    went: Account = {"snapshots": sorted(set(before) - set(now)), **dict.fromkeys(TOTALS, 0), "dropped": {}}
    for snapshot in sorted({*before, *now}):
        was, has = before.get(snapshot, {}), now.get(snapshot, {})
        for name in TOTALS:
            _add(came, went, name, has.get(name, 0) - was.get(name, 0))
        earlier, later = was.get("dropped", {}), has.get("dropped", {})
        for reason in sorted({*earlier, *later}):
            _add(came["dropped"], went["dropped"], reason, later.get(reason, 0) - earlier.get(reason, 0))
    return came, went


def _add(came: dict[str, int], went: dict[str, int], name: str, change: int) -> None:
    side = came if change > 0 else went
    if change:
        side[name] = side.get(name, 0) + abs(change)


def _by_snapshot(lake: Lake, table: str) -> dict[str, list[PartFile]]:
    found: dict[str, list[PartFile]] = defaultdict(list)
    for part in lake.parts(table):
        found[part.partition["snapshot"]].append(part)
    return found


def _count(lake: Lake, snapshot: str) -> Account:
    files = lake.scan("crawl_manifest", snapshot=snapshot).select(pl.len(), pl.col("size_bytes").sum()).collect().row(0)
    kinds = _by(lake.scan("record_counts", snapshot=snapshot), "kind", pl.col("records").sum())
    dropped = _by(lake.scan("decisions", snapshot=snapshot).filter(verdict="dropped"), "reason", pl.len())
    duplicates = _by(lake.scan("duplicate_clusters", snapshot=snapshot), "reason", pl.len())
    kept = lake.scan("corpus", snapshot=snapshot).select(pl.len(), pl.col("text_bytes").sum()).collect().row(0)
    return {
        "files": files[0],
        "crawl_bytes": int(files[1]),
        "records": sum(kinds.values()),
        "pages": kinds.get("page", 0),
        "kept": kept[0],
        "kept_bytes": int(kept[1]),
        "skipped": {kind.removeprefix("skipped:"): n for kind, n in kinds.items() if kind.startswith("skipped:")},
        "rejects": kinds.get("reject", 0),
        "dropped": _summed([dropped, {reason: n for reason, n in duplicates.items() if reason is not None}]),
    }


def _by(frame: pl.LazyFrame, column: str, value: pl.Expr) -> dict[str, int]:
    counts = frame.group_by(column).agg(value.alias("n")).sort(column).collect()
    return {name: int(n) for name, n in counts.iter_rows()}


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    whole = Counter[str]()
    for one in counts:
        whole.update(one)
    return dict(sorted(whole.items()))
