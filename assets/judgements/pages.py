"""The pages that somebody labels, as they lie in `documents`: what of them a label is kept with."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from assets.judgements.said import Page
from assets.lake import Lake, TableMissing
from kernels.text.quality_model import READ_POINTS

COLUMNS = ("doc_id", "snapshot", "url", "content_hash")


class UnknownPage(LookupError):
    """There is no such page among the documents, or not any more."""


def find(lake: Lake, doc_ids: Collection[str], within: pl.Expr | None = None) -> dict[str, Page]:
    """doc_id → page, of those that are there; of several snapshots that hold one, the first.

    within: a condition on the columns of documents that spares reading all of them, as snapshot and shard do.
    """
    try:
        documents = lake.scan("documents")
    except TableMissing:
        return {}
    chosen = pl.col("doc_id").is_in(sorted(doc_ids))
    rows = documents.filter(chosen if within is None else within & chosen)
    rows = rows.select(*COLUMNS, pl.col("text").str.head(READ_POINTS)).sort("snapshot", "doc_id")
    found: dict[str, Page] = {}
    for row in rows.collect(engine="streaming").iter_rows(named=True):
        found.setdefault(row["doc_id"], Page(**row))
    return found


def known(lake: Lake, doc_ids: Collection[str], within: pl.Expr | None = None) -> list[Page]:
    """The pages in the order asked for. Raises UnknownPage for the first that is not there."""
    found = find(lake, doc_ids, within)
    if missing := next((one for one in doc_ids if one not in found), None):
        raise UnknownPage(f"there is no page {missing[:60]} among the documents: it may have been taken down")
    return [found[one] for one in doc_ids]
