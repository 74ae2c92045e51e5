"""Withdrawal: what a run that began before a takedown publishes after it of its pages goes again, and the run fails.

A worker refuses the pages of takedowns that it knows. One that read a page before the request was made, or a stage that
holds rows from before the pages went, may commit them afterwards; so whatever an asset made is looked through once
more before the graph hears of it. What is published and killed before that look, the next apply finds.
"""

from __future__ import annotations

import functools
import operator

import polars as pl

from assets import excision
from assets.descent import MADE_DATA
from assets.lake import Lake, TableMissing
from assets.reach import named
from assets.schemas import TABLES
from assets.steps.ledger import FOUND, Ledger, Takedown
from assets.steps.scopes import selecting

ADDRESSED = ("doc_id", "url", "host", "content_hash")  # columns by which a scope tells a page


def begun(ledger: Ledger) -> list[Takedown]:
    """The takedowns whose pages were looked for already; what is only asked for waits for its apply."""
    return [entry for entry in ledger.entries() if ledger.status(entry.number) != "asked"]


def taken_ids(ledger: Ledger) -> set[str]:
    """doc_ids of all pages that takedowns found, or name themselves."""
    ids: set[str] = set()
    for entry in begun(ledger):
        found = ledger.read(entry.number, FOUND)
        ids |= named(entry.scope) | ({page["doc_id"] for page in found["pages"]} if found else set())
    return ids


def came_back(lake: Lake, table: str, snapshot: str | None = None) -> int:
    """How many rows of a table are of pages that the ledger refuses; 0 where there is no such table."""
    try:
        rows = lake.scan(table, snapshot=snapshot)
    except TableMissing:
        return 0
    refused = _refused(Ledger(lake.local), set(rows.collect_schema().names()))
    if refused is None:
        return 0
    return rows.filter(refused).select(pl.len()).collect(engine="streaming").item()


def withdraw(lake: Lake, asset: str, tables: list[str], snapshot: str | None) -> int:
    """Takes out of what an asset has just made the pages that the ledger refuses; returns rows and versions that went.

    tables: those that it made, of one snapshot or whole. Raises CommitConflict, TokenizerMissing.
    """
    ledger, gone = Ledger(lake.local), 0
    if not begun(ledger):
        return 0
    for table in tables:
        if came_back(lake, table, snapshot):
            refused = _refused(ledger, set(TABLES[table].schema.names))
            assert refused is not None
            gone += lake.delete(table, refused, None if snapshot is None else [{"snapshot": snapshot}])
    if asset == "token_shards":
        gone += excision.excise(lake, taken_ids(ledger))
    if asset in MADE_DATA:
        gone += excision.excise_made(lake, taken_ids(ledger))
    return gone


def _refused(ledger: Ledger, columns: set[str]) -> pl.Expr | None:
    """Which rows of a table with these columns the ledger refuses; None where it cannot say, or nothing is."""
    entries = begun(ledger)
    if not entries or "doc_id" not in columns:
        return None
    by_id = pl.col("doc_id").is_in(sorted(taken_ids(ledger)))
    by_scope = [selecting(entry.scope) for entry in entries] if columns.issuperset(ADDRESSED) else []
    return functools.reduce(operator.or_, by_scope, by_id)
