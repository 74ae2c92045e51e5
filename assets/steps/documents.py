"""Turns a WARC file into rows: documents (extracted text and where it came from), rejects, and counts of all records.

The three tables account for every record: records in == pages + skipped + rejects. A page without text, or over a
limit of the extractor, keeps its row with the text "", and says which limit. Rows stand in the order of the file.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from xxhash import xxh3_128_hexdigest

from assets.crawl_index.optouts import declared
from assets.schemas import table
from assets.steps.scopes import Refusal
from assets.steps.warc import Page, Reject, Skipped, read
from kernels.text import html
from kernels.text.html import MAX_HTML_BYTES, ExtractionLimit, PageTooLarge, UndecodablePage

BATCH_PAGES = 512
TAKEDOWN = "takedown"  # why a page that somebody asked to remove is skipped; it is counted, and nothing of it is kept
EXTRACTED = "ok"  # the column extraction of a page that is under every limit


@dataclass
class DocumentRows:
    """What a batch of records became: rows of the documents and rejects tables, and how many records of each kind."""

    documents: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def documents_of(
    path: str | os.PathLike,
    warc_path: str,
    snapshot: str,
    shard: str,
    *,
    size_bytes: int | None = None,
    storage_options: dict | None = None,
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """(documents, rejects, record_counts) of one file, local or any fsspec URL; columns as in assets.schemas.

    size_bytes: the file's size in the manifest; a shorter file gets a reject "truncated". Raises OSError if the file
    cannot be opened or read, BrokenExtractor if the extractor is.
    """
    documents, rejects = [], []
    counts: Counter[str] = Counter()
    for batch in batches(path, warc_path, snapshot, shard, size_bytes=size_bytes, storage_options=storage_options):
        documents.append(pa.Table.from_pylist(batch.documents, schema=table("documents").schema))
        rejects.append(pa.Table.from_pylist(batch.rejects, schema=table("rejects").schema))
        counts += batch.counts
    place = {"snapshot": snapshot, "shard": shard, "warc_path": warc_path}
    count_rows = [{**place, "kind": kind, "records": records} for kind, records in sorted(counts.items())]
    return (
        pa.concat_tables([table("documents").schema.empty_table(), *documents]).combine_chunks(),
        pa.concat_tables([table("rejects").schema.empty_table(), *rejects]).combine_chunks(),
        pa.Table.from_pylist(count_rows, schema=table("record_counts").schema),
    )


def batches(
    path: str | os.PathLike,
    warc_path: str,
    snapshot: str,
    shard: str,
    *,
    size_bytes: int | None = None,
    storage_options: dict | None = None,
    batch_pages: int = BATCH_PAGES,
    offsets: range | None = None,
    extractor: str = "trafilatura",
    opt_outs: bool = False,
    refusal: Refusal | None = None,
) -> Iterator[DocumentRows]:
    """The rows of one file, `batch_pages` records' worth at a time, so that memory does not grow with the file.

    offsets: only records that begin there, so that several workers can share a file; each reads all of it.
    extractor: "trafilatura" or "stemma", which also reads the charset that a page names.
    opt_outs: whether pages that refuse training by their headers or meta elements are skipped.
    refusal: takedowns, whose pages are skipped.
    """
    rows, refuses = DocumentRows(), refusal or Refusal([])
    for item in read(path, warc_path, size_bytes=size_bytes, storage_options=storage_options):
        if offsets is not None and item.warc_offset not in offsets:
            continue
        refused = declared(item.headers, item.body) if opt_outs and isinstance(item, Page) else None
        if refused:
            rows.counts[f"skipped:{refused}"] += 1
            continue
        kind = _add(rows, item, {"snapshot": snapshot, "shard": shard, "warc_path": warc_path}, extractor, refuses)
        rows.counts[kind] += 1
        if len(rows.documents) + len(rows.rejects) >= batch_pages:
            yield rows
            rows = DocumentRows()
    if rows.counts:
        yield rows


def text_of(page: Page, extractor: str = "trafilatura") -> tuple[str, str, str]:
    """(main text, charset, "ok" or the limit) of a page; a conversion record's text is taken as it is.

    Over a limit of the extractor the text is "". A page too large is not decoded, and has no charset. Raises
    UndecodablePage.
    """
    decode, extract = _functions(extractor)
    plain = page.content_type == "text/plain"
    if len(page.body) > MAX_HTML_BYTES and not plain:
        return "", "", PageTooLarge.reason
    decoded, charset = decode(page.body)
    try:
        return decoded if plain else extract(decoded, page.url), charset, EXTRACTED
    except ExtractionLimit as limit:
        return "", charset, limit.reason


@cache
def _functions(extractor: str) -> tuple[Callable[[bytes], tuple[str, str]], Callable[[str, str], str]]:
    """(decode, extract) of an extractor; only the chosen one is loaded. Raises ValueError for an unknown name."""
    if extractor == "trafilatura":
        return html.decode, html.extract_decoded
    if extractor == "stemma":
        from kernels.text import extractor as own

        return own.decode, own.extract
    raise ValueError(f"no extractor {extractor}: there are trafilatura and stemma")


def host_of(url: str) -> str:
    """Host of an address in lower case, "" where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _add(
    rows: DocumentRows, item: Page | Skipped | Reject, place: dict[str, str], extractor: str, refusal: Refusal
) -> str:
    """Adds a record's row to the batch; returns its kind for record_counts."""
    if isinstance(item, Skipped):
        return f"skipped:{item.reason}"
    span = {"warc_offset": item.warc_offset, "warc_length": item.warc_length}
    if isinstance(item, Reject):
        rows.rejects.append({**place, **span, "reason": item.reason, "detail": item.detail})
        return "reject"
    host = host_of(item.url)
    if refusal and refusal.of_page(item.doc_id, item.url, host) is not None:
        return f"skipped:{TAKEDOWN}"
    try:
        text, charset, extraction = text_of(item, extractor)
    except UndecodablePage as error:
        rows.rejects.append({**place, **span, "reason": "undecodable", "detail": f"{item.url}: {error}"})
        return "reject"
    if refusal and refusal.of_text(text) is not None:
        return f"skipped:{TAKEDOWN}"
    rows.documents.append(
        {
            **place,
            **span,
            "doc_id": item.doc_id,
            "warc_inner_offset": item.warc_inner_offset,
            "url": item.url,
            "host": host,
            "fetched_at": item.fetched_at,
            "payload_digest": item.payload_digest,
            "content_type": item.content_type,
            "charset": charset,
            "payload_bytes": item.payload_bytes,
            "extraction": extraction,
            "text": text,
            "content_hash": xxh3_128_hexdigest(text.encode("utf-8")),
        }
    )
    return "page"
