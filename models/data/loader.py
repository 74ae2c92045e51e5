"""Batches of token windows whose order is a pure function of (seed, step, row): no state but the step.

The train split is read as windows of seq_len + 1 tokens (inputs and the targets shifted by one). Every epoch visits
each window once, in the order of a keyed permutation that is computed, not stored, and begins at an offset of its own.
So a run can stop, resume or be spread over any number of processes and still see the same global batches.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kernels.tokens.shards import SplitReader
from models.config import InputError
from models.seeds import WORD, derive, mix

CONSUMED_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), metadata={"meaning": "document that the model was trained on"}),
        pa.field("tokens", pa.int64(), metadata={"meaning": "its tokens that were read at least once"}),
        pa.field("times", pa.int64(), metadata={"meaning": "how often its most-read token was read"}),
        pa.field("reads", pa.int64(), metadata={"meaning": "token reads, repeats counted"}),
    ]
)
BATCH_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), metadata={"meaning": "row of the batch"}),
        pa.field("doc_id", pa.string(), metadata={"meaning": "document whose tokens stand there"}),
        pa.field("start", pa.int64(), metadata={"meaning": "first of them, counted in the document"}),
        pa.field("tokens", pa.int64(), metadata={"meaning": "how many of them"}),
    ]
)
ROUNDS = 6


def permute(indices: np.ndarray, size: int, key: int) -> np.ndarray:
    """A keyed bijection of 0..size-1, applied to int64 `indices`; O(1) per entry, nothing stored.

    A balanced Feistel network on the next even number of bits, walked until the value falls below `size` (Black and
    Rogaway 2002, cycle walking). The round function is the SplitMix64 finaliser.
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    shift = np.uint64(half)
    keys = mix(np.uint64(key & WORD) + np.arange(1, ROUNDS + 1, dtype=np.uint64))
    values = np.asarray(indices).astype(np.uint64)
    walking = np.ones(values.shape, dtype=bool)
    while walking.any():
        left, right = values[walking] >> shift, values[walking] & mask
        for round_key in keys:
            left, right = right, left ^ (mix(right ^ round_key) & mask)
        values[walking] = (left << shift) | right
        walking &= values >= np.uint64(size)
    return values.astype(np.int64)


@dataclass(frozen=True)
class WindowLoader:
    """Where the windows of each step lie, and their tokens."""

    reader: SplitReader
    batch_size: int  # windows a step, over all processes
    seq_len: int
    seed: int

    def __post_init__(self) -> None:
        if self.windows < 1:
            needed = 2 * self.seq_len
            raise InputError(f"{self.reader.tokens} training tokens are too few: windows need {needed} at least")

    @property
    def windows(self) -> int:
        """Windows an epoch; up to two windows' worth of tokens at the edges are left out of it."""
        return max(0, (self.reader.tokens - 1) // self.seq_len - 1)

    def starts(self, step: int) -> np.ndarray:
        """Global position of the first token of each window of a step, (batch_size,) int64."""
        samples = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        starts = np.empty(self.batch_size, dtype=np.int64)
        for epoch in np.unique(samples // self.windows):
            rows = samples // self.windows == epoch
            key = derive(self.seed, "epoch", int(epoch))
            offset = key % self.seq_len
            starts[rows] = permute(samples[rows] % self.windows, self.windows, key) * self.seq_len + offset
        return starts

    def batch(self, step: int, rank: int = 0, world: int = 1) -> np.ndarray:
        """Tokens of this process's rows of a step, (batch_size / world, seq_len + 1) int64.

        Rows rank, rank + world, …: all processes together hold the global batch, whatever their number.
        """
        if self.batch_size % world:
            raise InputError(f"batch_size {self.batch_size} is not divisible by {world} processes")
        return np.stack([self.reader.read(start, start + self.seq_len + 1) for start in self.starts(step)[rank::world]])

    def documents(self, step: int) -> pa.Table:
        """Whose tokens the windows of a step hold: BATCH_SCHEMA rows, by row of the batch and place in it."""
        found: dict[str, list[Any]] = {name: [] for name in BATCH_SCHEMA.names}
        for row, start in enumerate(self.starts(step).tolist()):
            stop = start + self.seq_len + 1
            first, last = self.reader.documents_at([start, stop - 1]).tolist()
            for index in range(first, last + 1):
                begin, end = int(self.reader.starts[index]), int(self.reader.starts[index + 1])
                inside = max(begin, start)
                values = row, self.reader.doc_ids[index], inside - begin, min(end, stop) - inside
                for name, value in zip(BATCH_SCHEMA.names, values, strict=True):
                    found[name].append(value)
        return pa.table(found, schema=BATCH_SCHEMA)

    def consumed(self, steps: int) -> pa.Table:
        """Which documents the first `steps` steps read: CONSUMED_SCHEMA rows, sorted by doc_id.

        Recomputed from the order itself, position by position, so it is exact after any number of restarts.
        """
        edges = np.zeros(self.reader.tokens + 1, dtype=np.int64)
        for step in range(steps):
            starts = self.starts(step)
            np.add.at(edges, starts, 1)
            np.add.at(edges, starts + self.seq_len + 1, -1)
        reads = np.cumsum(edges[:-1])
        first = self.reader.starts[:-1]
        columns = {
            "doc_id": pa.array(self.reader.doc_ids, pa.string()),
            "tokens": np.add.reduceat(reads > 0, first, dtype=np.int64),
            "times": np.maximum.reduceat(reads, first),
            "reads": np.add.reduceat(reads, first),
        }
        table = pa.table(columns, schema=CONSUMED_SCHEMA)
        return table.filter(pa.array(columns["tokens"] > 0)).sort_by("doc_id")


def write_consumed(table: pa.Table, path: Path) -> None:
    """Write consumed.parquet; the same rows give the same bytes."""
    pq.write_table(table, path, compression="zstd")
