"""The funnel of all snapshots, and their languages, in work proportional to what is new: each snapshot is counted once.

What was counted of a snapshot is kept in the home's cache under a name that hashes the data versions of every table it
was counted from and the policy. A file there that cannot be read is counted again, and may be removed at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

import polars as pl

from assets.lake import Lake
from assets.parts import PartFile, data_version
from assets.policy import Policy
from assets.steps import funnel
from assets.steps.funnel import Funnel
from assets.temporary import write_whole

TABLES = (
    "crawl_manifest",
    "documents",
    "rejects",
    "record_counts",
    "annotations",
    "decisions",
    "duplicate_clusters",
    "corpus",
)


def count(lake: Lake, policy: Policy) -> tuple[Funnel, dict[str, int]]:
    """(funnel, pages by language) of all snapshots. Raises AccountingError, TableMissing."""
    versions = {table: _versions(lake, table) for table in TABLES}
    snapshots = sorted({snapshot for found in versions.values() for snapshot in found})
    counted = [
        _of(lake, policy, name, {table: found.get(name, "") for table, found in versions.items()}) for name in snapshots
    ]
    languages: Counter[str] = Counter()
    for _, found in counted:
        languages.update(found)
    return total([one for one, _ in counted], policy), dict(languages)


def total(funnels: Iterable[Funnel], policy: Policy) -> Funnel:
    """The sum of funnels of one policy, its reasons in the order that one funnel has them in."""
    every = list(funnels)
    sums = {}
    for column in fields(Funnel):
        values = [getattr(one, column.name) for one in every]
        if column.type == "int":
            sums[column.name] = sum(values)
        elif column.name != "policy":
            counts: Counter[str] = Counter()
            for value in values:
                counts.update(value)
            sums[column.name] = {name: counts[name] for name in sorted(counts)}
    sums["dropped"] = funnel.in_order(sums["dropped"], policy)
    return Funnel(policy=policy.id, **sums)


def _of(lake: Lake, policy: Policy, snapshot: str, versions: dict[str, str]) -> tuple[Funnel, dict[str, int]]:
    """What was counted of a snapshot at these data versions."""
    identity = json.dumps([snapshot, versions, policy.id, policy.digest], sort_keys=True)
    place = lake.local / "cache" / "funnels" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"
    try:
        kept = json.loads(place.read_bytes())
        return Funnel(**kept["funnel"]), kept["languages"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never counted, or not whole
    found = lake.scan("annotations", snapshot=snapshot).group_by("language").agg(pl.len()).sort("language").collect()
    counted, languages = funnel.count(lake, policy, snapshot), dict(found.iter_rows())
    _keep(place, {"funnel": asdict(counted), "languages": languages})
    return counted, languages


def _keep(place: Path, value: dict) -> None:
    write_whole(place, json.dumps(value, indent=1).encode())


def _versions(lake: Lake, table: str) -> dict[str, str]:
    """Data version of each snapshot that the table has rows of."""
    parts: dict[str, list[PartFile]] = defaultdict(list)
    for part in lake.parts(table):
        parts[part.partition["snapshot"]].append(part)
    return {snapshot: data_version(found) for snapshot, found in parts.items()}
