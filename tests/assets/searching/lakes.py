"""Lakes of documents alone: pages with url, host and text, in shards."""

from dataclasses import dataclass

import polars as pl

from assets import schemas
from assets.lake import Lake


@dataclass(frozen=True)
class Page:
    """A document."""

    doc_id: str
    text: str
    url: str = "https://www.example.org/a"
    shard: str = "shard0"


def commit(lake: Lake, snapshot: str, pages: list[Page]) -> None:
    """Writes the documents of a snapshot in place of what it held."""
    schema = schemas.table("documents").schema
    rows = [
        {
            **dict.fromkeys(schema.names),
            "doc_id": page.doc_id,
            "snapshot": snapshot,
            "shard": page.shard,
            "url": page.url,
            "host": page.url.split("/")[2],
            "text": page.text,
        }
        for page in sorted(pages, key=lambda page: (page.shard, page.doc_id))
    ]
    empty = pl.from_arrow(schema.empty_table())
    frame = pl.DataFrame(rows, schema=empty.schema) if rows else empty  # type: ignore[union-attr]
    lake.write("documents", frame, replace={"snapshot": snapshot})
