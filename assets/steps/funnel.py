"""The funnel: how many records came in, how many pages each rule dropped, what is left, and the same as a plot.

Counted from the tables, so nothing can be dropped without a row that says so: `count` raises where the counts of two
tables that must agree do not.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

from assets.lake import Lake
from assets.policy import Policy
from assets.steps.clusters import REASONS
from assets.steps.documents import EXTRACTED

DROPPED, KEPT, INK = "#c05a3c", "#2f6f8f", "#333333"


class AccountingError(AssertionError):
    """Two tables disagree about how many documents there are."""


@dataclass(frozen=True)
class Funnel:
    """Counts of one snapshot (or of several). `dropped` is by reason in the policy's order, duplicates last.

    pages == kept + sum(dropped), and records == pages + sum(skipped) + sum(rejects) but for rejects that are no record.
    """

    policy: str
    files: int
    records: int
    pages: int
    kept: int
    dropped: dict[str, int]
    skipped: dict[str, int]
    rejects: dict[str, int]
    duplicates: int
    payload_bytes: int
    text_bytes: int
    kept_bytes: int
    over_limits: dict[str, int]  # pages without text because they are over a limit of the extractor, by limit

    def to_json(self) -> dict[str, Any]:
        """The counts, with `in`, the number of pages that went into the decision."""
        return {"in": self.pages, **asdict(self)}

    def check(self) -> None:
        """Raises AccountingError unless in == kept + sum(dropped by reason)."""
        if self.pages != self.kept + sum(self.dropped.values()):
            raise AccountingError(f"{self.pages} pages are not {self.kept} kept and {self.dropped} dropped")


def count(lake: Lake, policy: Policy, snapshot: str | None = None) -> Funnel:
    """The funnel of one snapshot, or of all. Raises AccountingError, TableMissing."""
    counts = _by(lake.scan("record_counts", snapshot=snapshot), "kind", pl.col("records").sum())
    files = lake.scan("crawl_manifest", snapshot=snapshot).select(pl.len()).collect().item()
    pages = lake.scan("documents", snapshot=snapshot)
    totals = pages.select(
        pl.len().alias("pages"),
        pl.col("payload_bytes").sum(),
        pl.col("text").str.len_bytes().sum().alias("text_bytes"),
    )
    sizes = totals.collect(engine="streaming").row(0, named=True)
    verdicts = lake.scan("decisions", snapshot=snapshot)
    reasons = _by(verdicts.filter(pl.col("verdict") == "dropped"), "reason", pl.len())
    clustered = _by(lake.scan("duplicate_clusters", snapshot=snapshot), "reason", pl.len())
    corpus = lake.scan("corpus", snapshot=snapshot).select(pl.len().alias("rows"), pl.col("text_bytes").sum())
    kept = corpus.collect().row(0, named=True)
    duplicates = sum(n for reason, n in clustered.items() if reason is not None)
    dropped = in_order(reasons | {reason: clustered[reason] for reason in REASONS if reason in clustered}, policy)
    _agree("pages in record_counts and documents", counts.get("page", 0), sizes["pages"])
    decided = verdicts.select(pl.len()).collect().item()
    _agree("rows of documents and decisions", sizes["pages"], decided)
    _agree("kept decisions and rows of duplicate_clusters", decided - sum(reasons.values()), sum(clustered.values()))
    _agree("survivors and rows of corpus", clustered.get(None, 0), kept["rows"])
    funnel = Funnel(
        policy=policy.id,
        files=files,
        records=sum(counts.values()),
        pages=sizes["pages"],
        kept=kept["rows"],
        dropped=dropped,
        skipped={kind.removeprefix("skipped:"): n for kind, n in counts.items() if kind.startswith("skipped:")},
        rejects=_by(lake.scan("rejects", snapshot=snapshot), "reason", pl.len()),
        duplicates=duplicates,
        payload_bytes=sizes["payload_bytes"],
        text_bytes=sizes["text_bytes"],
        kept_bytes=kept["text_bytes"],
        over_limits=_by(pages.filter(pl.col("extraction") != EXTRACTED), "extraction", pl.len()),
    )
    funnel.check()
    return funnel


def in_order(dropped: dict[str, int], policy: Policy) -> dict[str, int]:
    """Counts by reason: the policy's in its order, others by name, duplicates last."""
    order = {name: i for i, name in enumerate([*policy.reasons, "", *REASONS])}
    return {name: dropped[name] for name in sorted(dropped, key=lambda name: (order.get(name, order[""]), name))}


def draw(funnel: Funnel, format: Literal["svg", "png"] = "svg") -> bytes:
    """The funnel as a waterfall: all pages, what each reason took away, what is kept. Same funnel, same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    names, starts, widths, colours = ["pages"], [0], [funnel.pages], [INK]
    left = funnel.pages
    for reason, n in funnel.dropped.items():
        left -= n
        names, starts, widths, colours = [*names, reason], [*starts, left], [*widths, n], [*colours, DROPPED]
    names, starts, widths, colours = [*names, "kept"], [*starts, 0], [*widths, left], [*colours, KEPT]
    fixed: Any = {"svg.hashsalt": "stemma", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 9}
    with matplotlib.rc_context(fixed):
        figure = Figure(figsize=(8, 0.8 + 0.26 * len(names)), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        axes.barh(range(len(names)), widths, left=starts, color=colours, height=0.72)
        for row, (start, width) in enumerate(zip(starts, widths)):
            share = f"{width:,} ({100 * width / max(funnel.pages, 1):.1f}%)"
            axes.text(start + width, row, f" {share}", va="center", color=INK, fontsize=8)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, max(funnel.pages, 1) * 1.18)
        axes.set_xlabel(f"pages under {funnel.policy}")
        axes.spines[["top", "right"]].set_visible(False)
        buffer = io.BytesIO()
        nothing = {"Date": None, "Creator": None} if format == "svg" else {"Software": None}
        figure.savefig(buffer, format=format, metadata=nothing)
    return buffer.getvalue()


def _by(frame: pl.LazyFrame, column: str, value: pl.Expr) -> dict[Any, int]:
    rows = frame.group_by(column).agg(value.alias("n")).sort(column).collect()
    return {key: int(n) for key, n in rows.select(column, "n").iter_rows()}


def _agree(what: str, one: int, two: int) -> None:
    if one != two:
        raise AccountingError(f"{what} differ: {one} and {two}")


def rows(funnel: Funnel) -> Sequence[tuple[str, int]]:
    """The funnel as (what, pages) lines for a table: in, each reason, kept."""
    return [("in", funnel.pages), *funnel.dropped.items(), ("kept", funnel.kept)]
