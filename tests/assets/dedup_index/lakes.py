"""Lakes with documents and corpora of several snapshots, from texts: what the asset before them would have written."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
import xxhash

from assets import schemas
from assets.lake import Lake


@dataclass(frozen=True)
class Page:
    """A document of the corpus; `documents`: of its snapshot, that it stands for."""

    doc_id: str
    text: str
    day: int
    language: str = "eng_Latn"
    documents: int = 1


def commit(lake: Lake, snapshot: str, pages: list[Page]) -> None:
    """Writes documents and corpus of a snapshot in place of what they held."""
    for name in ("documents", "corpus"):
        schema = schemas.table(name).schema
        rows = [
            {
                **dict.fromkeys(schema.names),
                "doc_id": page.doc_id,
                "snapshot": snapshot,
                "shard": f"shard{number % 2}",
                "fetched_at": datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=page.day),
                "content_hash": xxhash.xxh3_128_hexdigest(page.text.encode()),
                "text": page.text,
                "language": page.language,
                "cluster_id": page.doc_id,
                "cluster_size": page.documents,
                "text_bytes": len(page.text.encode()),
            }
            for number, page in enumerate(sorted(pages, key=lambda page: page.doc_id))
        ]
        frame = pl.DataFrame([{name: row[name] for name in schema.names} for row in rows], infer_schema_length=None)
        lake.write(name, frame.select(schema.names), replace={"snapshot": snapshot})


def take_away(lake: Lake, snapshot: str) -> None:
    """Removes a snapshot's rows."""
    for name in ("documents", "corpus"):
        lake.commit(name, [], replace={"snapshot": snapshot})
