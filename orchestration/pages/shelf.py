"""Every page of a home with all that was measured and decided of it, in memory, as new as the tables are.

One frame serves the funnel, filters, search and slices. It holds no text: columns of documents (but `text`), of
annotations, decisions and clusters, one row a page. A request looks at the tables' logs first (a listing), and reads
the tables again only when one of them has a new version. 10^5 pages take about 100 MB.
"""

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from assets.lake import Lake, TableMissing
from assets.steps.clusters import REASONS
from orchestration.home import Home, lake_of, require

DOCUMENT = (
    "doc_id", "snapshot", "shard", "warc_path", "warc_offset", "warc_length", "warc_inner_offset", "url", "host",
    "fetched_at", "content_type", "charset", "payload_bytes", "payload_digest", "extraction", "content_hash",
)  # fmt: skip
READ = ("documents", "annotations", "decisions", "contamination", "page_quality", "duplicate_clusters")
KEPT = "kept"
OUTCOME = "outcome"
LOOK_AGAIN_S = 5.0  # a bucket's log is listed at most so often


class NothingYet(LookupError):
    """The home has nothing of this kind yet; `command` is what makes it."""

    def __init__(self, what: str, command: str = "stemma demo") -> None:
        super().__init__(f"{what}: run `{command}`")
        self.what, self.command = what, command


@dataclass(frozen=True)
class Shelved:
    """The frame and what it was read from. `stamp` changes when a table does.

    Columns: DOCUMENT; every column of annotations; `contaminated_by` and `curated_quality` where they were made;
    `policy, verdict, reason, score, threshold` of decisions; `cluster_id, cluster_size, similarity` of duplicate
    clusters; `outcome`: kept, or the rule or kind of duplicate that the page went for; `undecided` where no decision is
    there yet.
    """

    frame: pl.DataFrame
    stamp: str
    policy: str | None  # name@version that decisions were made by


class Shelf:
    """The frame of one home, made on first use and made again when a table has a new version."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._shelved: Shelved | None = None
        self._looked: tuple[float, str] | None = None

    def open(self) -> Lake:
        """A lake of its own for one request. Raises NothingYet where the home was never prepared."""
        if not (self._home / "home.json").is_file():
            raise NothingYet(f"nothing was made in {self._home} yet")
        return lake_of(require(Home(self._home)))

    def look(self) -> Shelved:
        """The frame as the tables are now. Raises NothingYet while no page was annotated."""
        lake = self.open()
        stamp = self._stamp(lake)
        shelved = self._shelved
        if shelved is not None and shelved.stamp == stamp:
            return shelved
        with self._lock:
            if self._shelved is None or self._shelved.stamp != stamp:
                self._shelved = _read(lake, stamp)
            return self._shelved

    def rows(self, snapshot: str | None = None) -> pl.DataFrame:
        """The frame, of one snapshot or all."""
        frame = self.look().frame
        return frame if snapshot is None else frame.filter(pl.col("snapshot") == snapshot)

    def page(self, doc_id: str, snapshot: str | None = None) -> dict[str, Any] | None:
        """One page's row; of several snapshots that hold the record the first. None: there is no such page."""
        found = self.rows(snapshot).filter(pl.col("doc_id") == doc_id).head(1)
        return found.row(0, named=True) if found.height else None

    def _stamp(self, lake: Lake) -> str:
        if not lake.is_local:
            now = time.monotonic()
            if self._looked is None or now - self._looked[0] > LOOK_AGAIN_S:
                self._looked = (now, "|".join(_version(lake, table) for table in READ))
            return self._looked[1]
        return "|".join(_newest(Path(lake.staging(table)) / "_delta_log") for table in READ)


def _newest(log: Path) -> str:
    """The newest entry of a local table's log; "" where there is none."""
    try:
        return max((entry.name for entry in os.scandir(log) if entry.name.endswith(".json")), default="")
    except FileNotFoundError:
        return ""


def _version(lake: Lake, table: str) -> str:
    try:
        return lake.version_of(table)
    except TableMissing:
        return ""


def _read(lake: Lake, stamp: str) -> Shelved:
    from assets.steps.decide import annotated

    try:
        documents = lake.scan("documents").select(DOCUMENT)
        measured = annotated(lake).drop("shard")
    except TableMissing as error:
        raise NothingYet("no page was read and measured yet") from error
    key = ["doc_id", "snapshot"]
    frame = documents.join(measured, on=key, how="inner")
    decided = lake.scan("decisions").drop("shard") if lake.exists("decisions") else None
    if decided is None:
        missing = dict.fromkeys(("policy", "verdict", "reason"), pl.String) | dict.fromkeys(
            ("score", "threshold"), pl.Float64
        )
        frame = frame.with_columns(pl.lit(None, kind).alias(name) for name, kind in missing.items())
    else:
        frame = frame.join(decided, on=key, how="left")
    if lake.exists("duplicate_clusters"):
        clusters = lake.scan("duplicate_clusters").select(
            *key, "cluster_id", "cluster_size", "similarity", pl.col("reason").alias("duplicate")
        )
        frame = frame.join(clusters, on=key, how="left")
    else:
        frame = frame.with_columns(
            pl.lit(None, pl.String).alias("cluster_id"),
            pl.lit(None, pl.Int64).alias("cluster_size"),
            pl.lit(None, pl.Float64).alias("similarity"),
            pl.lit(None, pl.String).alias("duplicate"),
        )
    outcome = pl.coalesce("reason", "duplicate", pl.when(pl.col("verdict") == KEPT).then(pl.lit(KEPT)))
    rows = frame.with_columns(outcome.fill_null("undecided").alias(OUTCOME)).drop("duplicate").sort(key).collect()
    policies = rows["policy"].drop_nulls().unique().sort().to_list()
    return Shelved(rows, stamp, ", ".join(policies) or None)


def is_duplicate(outcome: str) -> bool:
    """Whether a page went because another one stays for it."""
    return outcome in REASONS
