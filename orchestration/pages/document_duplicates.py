"""The clusters of near-duplicates that a page is in, and how its text differs from another member's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from assets.lake import Lake
from assets.steps.clusters import EXACT_DUPLICATE, NEAR_DUPLICATE, survival
from orchestration.pages.document_rows import Document
from orchestration.pages.hostile import Span
from orchestration.pages.site import Site
from orchestration.pages.word_diff import Difference, Run, difference

MOST_MEMBERS = 50  # shown of a cluster
CONTEXT = 160  # characters shown of what both have, on each side of a difference
WHY = {
    None: "stays: it was fetched first",
    EXACT_DUPLICATE: "removed: the same text",
    NEAR_DUPLICATE: "removed: nearly the same text",
}


@dataclass(frozen=True)
class Cluster:
    """One cluster: among which documents it was found, who stays, and its members, the one that stays first."""

    among: str
    cluster_id: str
    size: int
    members: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Comparison:
    """Two members' texts as one: what only the other has is marked "removed", what only this page has "added"."""

    other: dict[str, Any]
    text: str
    spans: tuple[Span, ...]
    found: Difference
    is_whole: bool

    @property
    def same(self) -> bool:
        """Whether the texts do not differ in a word."""
        return self.is_whole and all(run.side == "both" for run in self.found.runs)


def clusters(site: Site, lake: Lake, page: Document) -> list[Cluster]:
    """The page's cluster in its snapshot, and over all of them; none where it was never compared with others."""
    found = []
    shelf = site.shelf.rows().select("doc_id", "snapshot", "url", "host", "fetched_at", "outcome", "language")
    if (own := page.row["cluster_id"]) is not None:
        rows = lake.scan("duplicate_clusters", snapshot=page.snapshot).filter(pl.col("cluster_id") == own)
        found.append(_cluster(f"pages of {page.snapshot}", own, rows.collect(), shelf))
    if lake.exists("corpus_clusters"):
        table = lake.scan("corpus_clusters")
        mine = (pl.col("doc_id") == page.doc_id) & (pl.col("snapshot") == page.snapshot)
        one = table.filter(mine).select("cluster_id", "language").collect()
        for own, language in one.iter_rows():
            rows = table.filter(pl.col("cluster_id") == own).collect()
            rows = rows.filter(pl.col("language").eq_missing(pl.lit(language))).drop("language")
            found.append(_cluster("the corpora of all snapshots", own, rows, shelf))
    return found


def _cluster(among: str, own: str, rows: pl.DataFrame, shelf: pl.DataFrame) -> Cluster:
    if "unverified" not in rows.columns:
        rows = rows.with_columns(pl.lit(None, pl.String).alias("unverified"))
    known = shelf.filter(pl.col("doc_id").is_in(rows["doc_id"].to_list()))
    there = rows.join(known, on=["doc_id", "snapshot"], how="left")
    order = there.sort(~pl.col("survivor"), *survival()).head(MOST_MEMBERS)
    members = [{**row, "why": WHY.get(row["reason"], row["reason"])} for row in order.to_dicts()]
    return Cluster(among, own, rows.height, tuple(members))


def other_of(found: Sequence[Cluster], page: Document, wanted: str | None) -> dict[str, Any] | None:
    """The member to compare with: the one of doc_id `wanted`, else the one that stays, else the next; None where the
    page is alone."""
    others = [
        member
        for cluster in found
        for member in cluster.members
        if (member["doc_id"], member["snapshot"]) != (page.doc_id, page.snapshot) and member["url"] is not None
    ]
    return next((member for member in others if member["doc_id"] == wanted), others[0] if others else None)


def compared(other: dict[str, Any], theirs: str, ours: str) -> Comparison:
    """The words in which the page's text differs from the other member's, with long common parts left out."""
    found = difference(theirs, ours)
    is_whole = found.a_compared == len(theirs) and found.b_compared == len(ours)
    if (same := Comparison(other, ours, (), found, is_whole)).same:
        return same
    parts: list[str] = []
    spans: list[Span] = []
    at = 0
    for number, run in enumerate(found.runs):
        for piece, kind, note in _pieces(run, theirs, ours, number == 0, number == len(found.runs) - 1):
            if kind:
                spans.append(Span(at, at + len(piece), note, kind))
            parts.append(piece)
            at += len(piece)
    return Comparison(other, "".join(parts), tuple(spans), found, is_whole)


def _pieces(run: Run, theirs: str, ours: str, first: bool, last: bool) -> list[tuple[str, str, str]]:
    """(text, kind, note) of a run; of a long one that both have, its ends beside a difference."""
    if run.side == "a":
        return [(theirs[run.a_start : run.a_end], "removed", "only in the other page")]
    if run.side == "b":
        return [(ours[run.b_start : run.b_end], "added", "only in this page")]
    same = ours[run.b_start : run.b_end]
    head, tail = ("" if first else same[:CONTEXT]), ("" if last else same[-CONTEXT:])
    left_out = len(same) - len(head) - len(tail)
    if left_out < CONTEXT:
        return [(same, "", "")]
    said = f"\n[… {left_out:,} characters that both have …]\n"
    return [(head, "", ""), (said, "same", "the same in both pages"), (tail, "", "")]
