"""Records of the crawl that were no page, by what they were, and how the corpus changed since its last version."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from assets.history import rows_of
from assets.lake import Lake, TableMissing
from assets.versions import CORPUS, CorpusVersion, UnknownVersion, Versions
from orchestration.pages.weighed import Part

SKIPPED = "skipped:"


@dataclass(frozen=True)
class Records:
    """Records that were read: pages, those skipped by kind, and those that could not be read by reason."""

    records: int
    pages: int
    skipped: dict[str, int]
    rejects: dict[str, int]

    @property
    def closes(self) -> bool:
        """records == pages + skipped + rejects."""
        return self.records == self.pages + sum(self.skipped.values()) + sum(self.rejects.values())


@dataclass(frozen=True)
class Changed:
    """What the present corpus has that the version before had not, and the other way; None: those bytes are gone."""

    now: CorpusVersion
    before: CorpusVersion
    added: int | None
    removed: int | None


def records(lake: Lake, part: Part) -> Records | None:
    """The records behind some pages; None where they are not counted: before documents were read, or for a language or
    host, which only pages have."""
    if not part.is_of_records:
        return None
    try:
        counts = _grouped(lake.scan("record_counts", snapshot=part.snapshot), part, "kind", pl.col("records").sum())
        rejects = _grouped(lake.scan("rejects", snapshot=part.snapshot), part, "reason", pl.len())
    except TableMissing:
        return None
    skipped = {kind.removeprefix(SKIPPED): n for kind, n in counts.items() if kind.startswith(SKIPPED)}
    return Records(sum(counts.values()), counts.get("page", 0), skipped, rejects)


def changed(lake: Lake, snapshot: str | None) -> Changed | None:
    """How the corpus (of one snapshot) changed when it was last made; None where there was none before."""
    try:
        known = Versions(lake)
        now, before = known.current, next((one for one in reversed(known.known) if not one.current), None)
    except (TableMissing, UnknownVersion):
        return None
    if snapshot is not None:
        this, last = known.of_snapshot(snapshot), known.of_snapshot(snapshot, 1)
        if this is None or last is None:
            return None
        now, before = this, last
    if before is None:
        return None
    if not (now.readable and before.readable):
        return Changed(now, before, None, None)
    new, old = (_ids(lake, known, version) for version in (now, before))
    added, removed = (
        new.join(old, on=["snapshot", "doc_id"], how="anti"),
        old.join(new, on=["snapshot", "doc_id"], how="anti"),
    )
    return Changed(now, before, added.height, removed.height)


def _ids(lake: Lake, known: Versions, version: CorpusVersion) -> pl.DataFrame:
    return rows_of(lake, known.rows(version), CORPUS).select("snapshot", "doc_id").collect()


def _grouped(frame: pl.LazyFrame, part: Part, column: str, value: pl.Expr) -> dict[str, int]:
    if part.source is not None:
        frame = frame.filter(pl.col("warc_path") == part.source)
    rows = frame.group_by(column).agg(value.alias("n")).sort("n", column, descending=[True, False]).collect()
    return {str(name): int(n) for name, n in rows.select(column, "n").iter_rows()}
