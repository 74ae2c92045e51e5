"""Looks for personal data that is left in the corpus: workers take a part file each, a small corpus is read here.

The finder takes .3 ms a page, which one process would need weeks for where a snapshot has billions. A part that was
looked through is not looked through again while it and the finder stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from assets.lake import Lake
from assets.parts import PartFile, read_batches
from assets.steps.jobs import Beat, ShardJob
from assets.steps.stages import Engine
from kernels.text import pii

READ_HERE_ROWS = 10_000  # fewer take less time than a worker needs to start
COLUMNS = ["doc_id", "text"]


def left_in(batch: pa.RecordBatch) -> list[str]:
    """doc_ids of the rows (COLUMNS) in whose text the finder finds something."""
    rows = zip(batch.column("doc_id").to_pylist(), batch.column("text").to_pylist(), strict=True)
    return [doc_id for doc_id, text in rows if pii.find(text)]


def run(job: ShardJob, beat: Beat) -> tuple[dict[str, list[PartFile]], dict[str, int]]:
    """The worker's step: counts the rows of a part of the corpus that hold something; writes no table."""
    counts = {"documents": 0, "left": 0}
    for batch in job.batches("corpus", COLUMNS):
        counts["documents"] += batch.num_rows
        counts["left"] += len(left_in(batch))
        beat()
    return {}, counts


def documents_with_personal_data(lake: Lake, engine: Engine, snapshot: str) -> list[str]:
    """doc_ids of the snapshot's corpus rows in which something is found, in the order of parts. Raises ShardFailed."""
    parts = lake.parts("corpus", snapshot=snapshot)
    if sum(part.rows for part in parts) > READ_HERE_ROWS:
        records = engine.run("scrubbed", [_job(lake, snapshot, part) for part in parts])
        parts = [part for part, record in zip(parts, records, strict=True) if record.counts["left"]]
    return [doc_id for batch in _rows(lake, parts) for doc_id in left_in(batch)]


def _rows(lake: Lake, parts: Iterable[PartFile]) -> Iterable[pa.RecordBatch]:
    return read_batches(lake.staging("corpus"), parts, COLUMNS, lake.storage_options)


def _job(lake: Lake, snapshot: str, part: PartFile) -> ShardJob:
    return ShardJob(
        step="scrubbed",
        shard=f"{snapshot}/{part.partition['shard']}/{part.sha256[:12]}",
        partition=part.partition,
        inputs={"corpus": [asdict(part)]},
        config={},
        places={"inputs": {"corpus": lake.staging("corpus")}, "outputs": {}},
        work=str(Path(lake.local) / "work" / "shards"),
        storage_options=lake.storage_options,
    )
