"""What was fetched into a crawl root so far, read from its `fetches/`: for asking how far a subscription has come.

Every finished fetch is a folder `fetches/<plan>/` with a manifest; of whole files there is one list a snapshot. Nothing
else is remembered anywhere, so a crawl root that is copied takes its state along.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from assets.crawl_index.plan import KEY
from assets.crawl_index.subscription import Subscription
from assets.parts import filesystem

FOLDER = "fetches"
MANIFEST, COST = "manifest.json", "cost.json"


class FetchesUnreadable(RuntimeError):
    """A file that says what was fetched is damaged; nobody can say what is here."""


@dataclass(frozen=True)
class Done:
    """One finished fetch of a plan. facts: the plan's; manifest: what came of it; cost: what was planned and moved."""

    name: str
    facts: dict[str, Any]
    manifest: dict[str, Any]
    cost: dict[str, Any]

    @property
    def records(self) -> int:
        """Records that were planned: each is here or rejected."""
        return int(self.manifest["records"]) + sum(self.manifest["rejects"].values())

    def is_of(self, asks: dict[str, Any], snapshot: str) -> bool:
        return self.facts["snapshot"] == snapshot and self.facts.get("slice", {}).get("asks") == asks


@dataclass(frozen=True)
class Fetches:
    """The fetches of a crawl root, oldest slice first; `root` may be s3://."""

    root: str
    done: list[Done] = field(default_factory=list)
    options: dict[str, str] | None = field(default=None, repr=False)

    @classmethod
    def read(cls, root: str, options: dict[str, str] | None = None) -> Fetches:
        """Reads the manifests and the plans' facts; no record. Raises FetchesUnreadable."""
        fs, base = filesystem(root, options)
        folder = f"{base.rstrip('/')}/{FOLDER}"
        fs.invalidate_cache()
        found = []
        for path in sorted(fs.glob(f"{folder}/*/{MANIFEST}")):
            inside = posixpath.dirname(path)
            try:
                manifest = json.loads(fs.cat_file(path))
                with fs.open(f"{inside}/plan.parquet", "rb") as file:
                    facts = json.loads((pq.read_schema(file).metadata or {})[KEY])
                cost = json.loads(fs.cat_file(f"{inside}/{COST}"))
                found.append(Done(posixpath.basename(inside), facts, manifest, cost))
            except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
                raise FetchesUnreadable(f"{inside} says nothing of a fetch: {error}") from error
        return cls(
            root, sorted(found, key=lambda one: (one.facts.get("slice", {}).get("number", 0), one.name)), options
        )

    def of(self, one: Subscription, snapshot: str) -> list[Done]:
        """The slices that a subscription, as it is now, has got of a snapshot."""
        asks = one.asks(snapshot)
        return [done for done in self.done if done.is_of(asks, snapshot)]

    def is_exhausted(self, one: Subscription, snapshot: str) -> bool:
        """Whether the selection has no more records than those that were planned."""
        if one.by_files:
            return False
        slices = self.of(one, snapshot)
        return bool(slices) and slices[-1].facts["slice"]["to"] is None

    def held_digests(self) -> pl.Series:
        """Distinct base32 sha1 of all records that came by a plan, of every snapshot. Raises FetchesUnreadable."""
        fs, base = filesystem(self.root, self.options)
        columns = [pl.Series(dtype=pl.String)]
        for done in self.done:
            path = f"{base.rstrip('/')}/{FOLDER}/{done.name}/records.parquet"
            try:
                with fs.open(path, "rb") as file:
                    columns.append(pl.read_parquet(file, columns=["content_digest"]).to_series())
            except (OSError, pl.exceptions.ComputeError) as error:
                raise FetchesUnreadable(f"{path} cannot be read: {error}") from error
        return pl.concat(columns).drop_nulls().unique().sort()

    def noted_files(self, snapshot: str) -> pl.DataFrame:
        """The list of a snapshot's whole files (columns whole.FILES); empty where there is none."""
        from assets.crawl_index.whole import FILES

        fs, base = filesystem(self.root, self.options)
        path = f"{base.rstrip('/')}/{FOLDER}/{snapshot}.files.parquet"
        if not fs.exists(path):
            return pl.DataFrame(schema=FILES)
        with fs.open(path, "rb") as file:
            return pl.read_parquet(file)

    def settled_files(self, snapshot: str) -> set[str]:
        """Names without folder of whole files that are here, or that their source was found not to have."""
        fs, base = filesystem(self.root, self.options)
        folder = f"{base.rstrip('/')}/{snapshot}"
        there = fs.ls(folder, detail=False) if fs.isdir(folder) else []
        noted = self.noted_files(snapshot)["source_filename"].to_list()
        return {posixpath.basename(path) for path in [*there, *noted]}


def local(root: str) -> Path | None:
    """The folder of a crawl root; None for a remote one."""
    return None if "://" in root else Path(root)
