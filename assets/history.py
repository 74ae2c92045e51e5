"""The history of a row table, read from its Delta log: which rows each snapshot ever had, since when, made from what.

A data version names rows by the bytes of their part files, so what is made again from the same inputs is the same
version again. Whether the bytes are still there is asked of the files themselves: a takedown removes those of earlier
versions, and the log goes on to name them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

from assets import schemas
from assets.lake import NOTE, Lake, TableMissing
from assets.parts import PartFile, data_version, filesystem

MARK = "partition:snapshot="  # how commits name the snapshot that they replaced (assets.lake)


@dataclass(frozen=True)
class Held:
    """The rows that a snapshot had at some time."""

    table: str
    snapshot: str
    data_version: str
    parts: tuple[PartFile, ...]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True)
class TableVersion:
    """The table after one commit. `number` is Delta's; `at_ms` since the epoch by the clock of who committed, for
    people to see; `snapshots`: data version of each; `note`: what the commit says of itself, of the snapshots
    `changed`."""

    number: int
    at_ms: int
    snapshots: dict[str, str]
    changed: frozenset[str]
    note: dict[str, Any]


@dataclass
class History:
    """All versions that a table ever had, oldest first, and the rows of each (snapshot, data version)."""

    table: str
    versions: list[TableVersion] = field(default_factory=list)
    changes: dict[str, list[TableVersion]] = field(default_factory=dict)  # those that were about a snapshot
    held: dict[tuple[str, str], Held] = field(default_factory=dict)
    there: dict[str, int] = field(default_factory=dict)  # part files that exist, and their sizes in bytes

    def missing(self, held: Held) -> list[PartFile]:
        """The part files that are gone, or are not whole."""
        return [part for part in held.parts if self.there.get(part.path) != part.bytes]

    def note(self, snapshot: str, version: str, until: int | None = None) -> dict[str, Any]:
        """What the newest commit that gave the snapshot these rows says of itself; until: a number of this table."""
        for one in reversed(self.changes.get(snapshot, [])):
            if (until is None or one.number <= until) and one.snapshots[snapshot] == version:
                return one.note
        return {}

    def as_of(self, snapshot: str, at_ms: int) -> Held | None:
        """The snapshot's rows at a time; where they are gone, the first ones after it that can be read."""
        changes = self.changes.get(snapshot, [])
        known = [(one.at_ms, self.held[snapshot, one.snapshots[snapshot]]) for one in changes]
        before = [held for when, held in known if when <= at_ms][-1:]
        for held in [*before, *(held for when, held in known if when > at_ms)]:
            if not self.missing(held):
                return held
        return before[0] if before else None


def history(lake: Lake, table: str) -> History:
    """The history of a table; an empty one where it was never committed."""
    made = History(table)
    present: dict[str, dict[str, PartFile]] = {}  # part files by snapshot and path
    snapshots: dict[str, str] = {}
    begun = False
    for number, entries in _log(lake, table):
        whole = begun or number == 0 or _starts_whole(entries)
        changed = _apply(entries, present) if whole else _begin(lake, table, number, present)
        begun = True
        if not changed:
            continue
        for snapshot in changed:
            parts = tuple(sorted(present[snapshot].values(), key=lambda part: part.path))
            version = data_version(parts)
            snapshots[snapshot] = version
            made.held.setdefault((snapshot, version), Held(table, snapshot, version, parts))
        said = next((entry["commitInfo"] for entry in entries if "commitInfo" in entry), {})
        note = json.loads(said[NOTE]) if NOTE in said else {}
        at_ms = int(said.get("timestamp", 0))
        made.versions.append(TableVersion(number, at_ms, dict(snapshots), frozenset(changed), note))
        for snapshot in changed:
            made.changes.setdefault(snapshot, []).append(made.versions[-1])
    if made.versions:
        made.there = files_there(lake, table)
    return made


def files_there(lake: Lake, table: str) -> dict[str, int]:
    """Every part file below a table's root, by path, with its size in bytes."""
    fs, base = filesystem(lake.staging(table), lake.storage_options)
    fs.invalidate_cache()
    base = base.rstrip("/")
    found = fs.find(base, detail=True)
    return {name[len(base) + 1 :]: int(info["size"]) for name, info in found.items() if name.endswith(".parquet")}


def rows_of(lake: Lake, held: Iterable[Held], table: str) -> pl.LazyFrame:
    """The rows of a table at some time, with its partition columns; columns that came later are null.

    Nothing is recorded as read: history is for people to ask, no asset is made from it.
    """
    parts = [part for one in held for part in one.parts]
    spec = schemas.table(table)
    empty = pl.DataFrame(pl.from_arrow(spec.schema.empty_table()))
    if not parts:
        return empty.lazy()
    inside = [name for name in empty.columns if name not in parts[0].partition]  # tables of earlier code were cut less
    return pl.scan_parquet(
        [f"{lake.staging(table)}/{part.path}" for part in parts],
        hive_partitioning=True,
        hive_schema=dict.fromkeys(parts[0].partition, pl.String()),
        schema=empty.select(inside).schema,
        missing_columns="insert",
        extra_columns="ignore",
        storage_options=lake.storage_options,
    )


def rows_at(lake: Lake, table: str, version: str) -> list[Held]:
    """The rows of a whole table at a data version, by snapshot. Raises TableMissing where they are gone."""
    known = history(lake, table)
    for one in reversed(known.versions):
        rows = [known.held[pair] for pair in sorted(one.snapshots.items())]
        if data_version(part for held in rows for part in held.parts) == version:
            if not any(known.missing(held) for held in rows):
                return rows
            break
    raise TableMissing(f"the rows of {table} that have the data version {version} are gone")


def _log(lake: Lake, table: str) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """(number, actions) of every commit, oldest first."""
    fs, base = filesystem(f"{lake.staging(table)}/_delta_log", lake.storage_options)
    fs.invalidate_cache()
    if not fs.exists(base):
        return
    names = sorted(name for name in fs.ls(base, detail=False) if Path(name).stem.isdigit() and name.endswith(".json"))
    for name in names:
        yield int(Path(name).stem), [json.loads(line) for line in fs.cat_file(name).splitlines() if line.strip()]


def _starts_whole(entries: list[dict[str, Any]]) -> bool:
    """Whether a commit is the table's creation, before which nothing was."""
    return any("protocol" in entry for entry in entries)


def _begin(lake: Lake, table: str, number: int, present: dict[str, dict[str, PartFile]]) -> set[str]:
    """The first commit that the log still has, of a table whose older ones are gone: what it held then."""
    try:
        parts = Lake(lake.root, lake.storage_options, lake.local).parts(table, version=number)
    except TableMissing:
        return set()
    for part in parts:
        present.setdefault(part.partition["snapshot"], {})[part.path] = part
    return set(present)


def _apply(entries: list[dict[str, Any]], present: dict[str, dict[str, PartFile]]) -> set[str]:
    """Brings `present` to what it is after a commit; returns the snapshots that the commit was about."""
    changed: set[str] = set()
    for entry in entries:
        if "remove" in entry:
            path = unquote(entry["remove"]["path"])
            for snapshot, parts in present.items():
                if parts.pop(path, None) is not None:
                    changed.add(snapshot)
    for entry in entries:
        if "add" in entry:
            part = _part(entry["add"])
            snapshot = part.partition.get("snapshot", "")
            present.setdefault(snapshot, {})[part.path] = part
            changed.add(snapshot)
        elif "txn" in entry and entry["txn"]["appId"].startswith(MARK):
            snapshot = entry["txn"]["appId"].removeprefix(MARK)
            present.setdefault(snapshot, {})  # a snapshot without rows is known by its mark
            changed.add(snapshot)
    return changed


def _part(added: dict[str, Any]) -> PartFile:
    path = unquote(added["path"])
    rows = json.loads(added["stats"])["numRecords"]
    return PartFile(path, Path(path).stem, int(rows), int(added["size"]), dict(added["partitionValues"]))
