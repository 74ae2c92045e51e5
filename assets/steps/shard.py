"""The worker's first step: a WARC file, or a range of its offsets, to part files of documents, rejects, record_counts.

A large file is shared by several jobs. Which job a record belongs to follows from its offset alone, so the rows are the
same however many workers there are. Every job reads the whole file: extraction costs fifty times as much as reading.

Pages of a takedown are skipped. The ledger is no part of the job's digest, or each request would read the whole crawl
again: applying a takedown removes its rows' part files, which makes the records that list them void, and no others.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa

from assets.parts import PartFile
from assets.schemas import table
from assets.steps.documents import batches
from assets.steps.jobs import Beat, ShardJob
from assets.steps.ledger import Ledger

BATCH_PAGES = 64  # a page's HTML is let go at once, but its text waits until the batch is written


def offsets_of(size_bytes: int, index: int, of: int) -> range:
    """Offsets of one of `of` ranges of a file; the last one has no end, for what is reported beyond the file's."""
    return range(size_bytes * index // of, size_bytes * (index + 1) // of if index + 1 < of else 1 << 62)


def run(job: ShardJob, beat: Beat) -> tuple[dict[str, list[PartFile]], dict[str, int]]:
    """The worker's step: WARC records to rows, a batch at a time. Raises OSError if the file cannot be read."""
    size, warc_path = job.inputs["size_bytes"], job.inputs["warc_path"]
    place = {**job.partition, "warc_path": warc_path}
    names = ("documents", "rejects", "record_counts")
    schemas = {name: table(name).schema for name in names}
    counts: Counter[str] = Counter()
    refusal = Ledger(Path(job.places["home"])).refusal()
    with (
        job.writer("documents", schemas["documents"]) as documents,
        job.writer("rejects", schemas["rejects"]) as rejects,
        job.writer("record_counts", schemas["record_counts"]) as record_counts,
    ):
        for rows in batches(
            job.places["warc"],
            **place,
            size_bytes=size,
            storage_options=job.places.get("warc_options"),
            batch_pages=BATCH_PAGES,
            offsets=offsets_of(size, *job.config["range"]),
            extractor=job.config["extractor"],
            opt_outs=job.config.get("opt_outs", False),
            refusal=refusal,
        ):
            documents.write(pa.Table.from_pylist(rows.documents, schema=schemas["documents"]))
            rejects.write(pa.Table.from_pylist(rows.rejects, schema=schemas["rejects"]))
            counts += rows.counts
            beat()
        totals = [{**place, "kind": kind, "records": n} for kind, n in sorted(counts.items())]
        record_counts.write(pa.Table.from_pylist(totals, schema=schemas["record_counts"]))
    written = {"documents": documents, "rejects": rejects, "record_counts": record_counts}
    return {name: [writer.part] if writer.part else [] for name, writer in written.items()}, dict(counts)
