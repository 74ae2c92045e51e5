"""Texts of a few documents of a large table: only the row groups that hold them are read, in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assets.lake import Lake
from assets.parts import filesystem

READERS = 4
BATCH = 64  # rows that are unpacked at once
Key = tuple[str, str]  # snapshot, doc_id


def texts_of(lake: Lake, wanted: Iterable[tuple[str, str, str]]) -> dict[Key, str]:
    """(snapshot, doc_id) → text of the documents (snapshot, shard, doc_id); those that are gone are left out.

    Raises TableMissing.
    """
    by_shard: dict[tuple[str, str], set[str]] = {}
    for snapshot, shard, doc_id in wanted:
        by_shard.setdefault((snapshot, shard), set()).add(doc_id)
    if not by_shard:
        return {}
    parts = [(part.partition["snapshot"], part.partition["shard"], part.path) for part in lake.parts("documents")]
    due = [
        (snapshot, path, by_shard[snapshot, shard]) for snapshot, shard, path in parts if (snapshot, shard) in by_shard
    ]

    def read(one: tuple[str, str, set[str]]) -> dict[Key, str]:
        snapshot, path, ids = one
        return {(snapshot, doc_id): text for doc_id, text in _read(lake, path, ids)}

    with ThreadPoolExecutor(READERS) as pool:
        return {key: text for found in pool.map(read, due) for key, text in found.items()}


def _read(lake: Lake, path: str, ids: set[str]) -> list[tuple[str, str]]:
    """(doc_id, text) of those documents that a part file holds."""
    fs, base = filesystem(lake.staging("documents"), lake.storage_options)
    found: list[tuple[str, str]] = []
    with fs.open(f"{base}/{path}") as handle, pq.ParquetFile(handle, pre_buffer=False) as file:
        for number in range(file.num_row_groups):
            names = file.read_row_group(number, columns=["doc_id"], use_threads=False)["doc_id"]
            rows = pc.indices_nonzero(pc.is_in(names, pa.array(sorted(ids), pa.string()))).to_pylist()  # type: ignore[attr-defined]
            if rows:
                found += zip(names.take(rows).to_pylist(), _picked(file, number, rows))
    return found


def _picked(file: pq.ParquetFile, number: int, rows: list[int]) -> Iterator[str]:
    """The texts of some rows of a row group, which is unpacked no further than the last of them."""
    waiting, start = deque(rows), 0
    for batch in file.iter_batches(BATCH, [number], ["text"], use_threads=False):
        while waiting[0] < start + batch.num_rows:
            yield batch.column(0)[waiting.popleft() - start].as_py() or ""
            if not waiting:
                return
        start += batch.num_rows
