"""One page's rows: found on the shelf by its id, and read from the one row group of a part file that holds it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from assets.lake import Lake, TableMissing
from assets.parts import filesystem
from assets.safe_text import shown
from assets.steps.ledger import removals
from assets.verified import whole
from orchestration.pages.site import Site


class UnknownDocument(LookupError):
    """No page of that id is in the tables; the message says where to look."""


@dataclass(frozen=True)
class Document:
    """A page of one snapshot: its row on the shelf (`row`, and `frame` of that row alone), and every snapshot that
    holds the same record."""

    row: dict[str, Any]
    frame: pl.DataFrame
    snapshots: tuple[str, ...]

    @property
    def doc_id(self) -> str:
        return self.row["doc_id"]

    @property
    def snapshot(self) -> str:
        return self.row["snapshot"]


def find(site: Site, doc_id: str, snapshot: str | None = None) -> Document:
    """The page, of that snapshot or of the first that holds it. Raises UnknownDocument, NothingYet."""
    found = site.shelf.rows().filter(pl.col("doc_id") == doc_id)
    snapshots = tuple(found["snapshot"])
    if not snapshots:
        number = removals(site.home).get(doc_id)
        if number is not None:
            raise UnknownDocument(f"{doc_id} was taken out of everything by takedown {number}: see /takedown/{number}")
        raise UnknownDocument(f"no page has the doc_id {shown(doc_id, 60)}: search for its address or its text instead")
    if snapshot is not None and snapshot not in snapshots:
        there = ", ".join(snapshots)
        raise UnknownDocument(f"{doc_id} is not in the snapshot {shown(snapshot, 60)}: it is in {there}")
    frame = found.filter(pl.col("snapshot") == (snapshot or snapshots[0]))
    return Document(frame.row(0, named=True), frame, snapshots)


def row_of(lake: Lake, table: str, page: Mapping[str, Any], columns: list[str]) -> dict[str, Any] | None:
    """Columns of the page's row in a table that is partitioned by snapshot and shard; None where it has none."""
    return next(rows_of(lake, table, page, columns), None)


def rows_of(lake: Lake, table: str, page: Mapping[str, Any], columns: list[str]) -> Iterator[dict[str, Any]]:
    """Columns of all the page's rows in such a table; none where the table is missing.

    Of a file only the ids and the row groups that hold it (16 MB of strings at most, or one longer text) are decoded.
    """
    try:
        parts = lake.parts(table, snapshot=page["snapshot"])
    except TableMissing:
        return
    fs, base = filesystem(lake.staging(table), lake.storage_options)
    for part in parts:
        if part.partition["shard"] != page["shard"]:
            continue
        with (
            whole(fs, f"{base}/{part.path}", part.sha256) as path,
            open(path, "rb") as handle,
            pq.ParquetFile(handle) as file,
        ):
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["doc_id"]).column("doc_id").to_pylist()
                if page["doc_id"] in ids:
                    rows = file.read_row_group(group, columns=columns)
                    for place in (place for place, one in enumerate(ids) if one == page["doc_id"]):
                        yield from rows.slice(place, 1).to_pylist()


def text_of(lake: Lake, page: Mapping[str, Any]) -> str:
    """The page's extracted text. Raises UnknownDocument."""
    row = row_of(lake, "documents", page, ["text"])
    if row is None:
        raise UnknownDocument(f"the text of {page['doc_id']} is gone since the page was found: load it again")
    return row["text"]
