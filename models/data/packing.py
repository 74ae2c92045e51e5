"""Batches of whole documents, packed by best fit: every row begins with a document, none is cut that fits a row.

A document longer than a row is cut into full rows and a rest; every piece lies in exactly one row of an epoch. Which
pieces share a row, their order in it and the order of the rows are functions of (seed, epoch), so the batch of a step
is a pure function of (seed, step, row), on any number of processes, as in models/data/loader.py.
Source: arXiv 2404.10830. What is left of a row is filled with the end token and is no target.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kernels.tokens.shards import SplitReader
from models.config import InputError
from models.data.loader import BATCH_SCHEMA, CONSUMED_SCHEMA, WindowLoader, permute
from models.data.tokenizer import END_OF_TEXT_ID
from models.seeds import derive

PADDING = -1  # segment of tokens that are none


@dataclass(frozen=True)
class PackedBatch:
    """Rows of seq_len + 1 tokens, inputs and the targets shifted by one."""

    ids: np.ndarray  # (B, T + 1) int64
    segments: np.ndarray  # (B, T + 1) int64: which piece of the row a token belongs to; PADDING: none
    targets: np.ndarray  # (B, T) bool: ids[:, 1:] that are learnt: of the same piece, or the end of a document


@dataclass(frozen=True)
class Plan:
    """One epoch's rows: row r holds the pieces order[edges[r]:edges[r + 1]], in that order."""

    order: np.ndarray
    edges: np.ndarray


class PackedLoader:
    """Where the pieces of each step lie, and their tokens. Memory: about 60 bytes a piece."""

    def __init__(self, reader: SplitReader, batch_size: int, seq_len: int, seed: int) -> None:
        if not reader.tokens:
            raise InputError("the training split holds no token: there is nothing to pack")
        self.reader, self.batch_size, self.seq_len, self.seed = reader, batch_size, seq_len, seed
        lengths = np.diff(reader.starts)
        pieces = -(-lengths // self.capacity)
        self.document = np.repeat(np.arange(len(lengths)), pieces)  # of each piece, index into reader.doc_ids
        first = np.cumsum(pieces) - pieces
        self.start = reader.starts[self.document] + (np.arange(len(self.document)) - first[self.document]) * (
            self.capacity
        )
        ends = reader.starts[self.document + 1]
        self.length = np.minimum(self.capacity, ends - self.start)
        self.ends_document = self.start + self.length == ends
        self._plan: tuple[int, Plan] | None = None
        self.rows = len(self.plan(0).edges) - 1  # of an epoch: the same in every one

    @property
    def capacity(self) -> int:
        """Tokens of a row."""
        return self.seq_len + 1

    @property
    def waste(self) -> float:
        """Share of the rows' places that hold no token."""
        return 1 - self.reader.tokens / (self.rows * self.capacity)

    def plan(self, epoch: int) -> Plan:
        """The rows of an epoch; the last one asked for is kept."""
        from kernels.tokens.packing import best_fit  # compiled: who only reads windows does not wait for it

        if self._plan is None or self._plan[0] != epoch:
            key = derive(self.seed, "packing", epoch)
            shuffled = permute(np.arange(len(self.length)), len(self.length), key)  # pieces in an order of the epoch's
            row = np.empty(len(shuffled), dtype=np.int64)
            row[shuffled] = best_fit(self.length[shuffled], self.capacity)
            place = np.empty(len(shuffled), dtype=np.int64)
            place[permute(np.arange(len(shuffled)), len(shuffled), key + 1)] = np.arange(len(shuffled))
            order = np.lexsort((place, row))
            self._plan = epoch, Plan(order, np.searchsorted(row[order], np.arange(row.max() + 2)))
        return self._plan[1]

    def pieces(self, step: int) -> list[np.ndarray]:
        """The pieces in each row of a step, in their order: batch_size arrays."""
        found = []
        for sample in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, index = divmod(sample, self.rows)
            plan = self.plan(epoch)
            row = int(permute(np.array([index]), self.rows, derive(self.seed, "epoch", epoch))[0])
            found.append(plan.order[plan.edges[row] : plan.edges[row + 1]])
        return found

    def batch(self, step: int, rank: int = 0, world: int = 1) -> PackedBatch:
        """This process's rows of a step: rank, rank + world, …; together they are the global batch."""
        if self.batch_size % world:
            raise InputError(f"batch_size {self.batch_size} is not divisible by {world} processes")
        rows = self.pieces(step)[rank::world]
        ids = np.full((len(rows), self.capacity), END_OF_TEXT_ID, dtype=np.int64)
        segments = np.full((len(rows), self.capacity), PADDING, dtype=np.int64)
        targets = np.zeros((len(rows), self.seq_len), dtype=bool)
        for row, pieces in enumerate(rows):
            place = 0
            for segment, piece in enumerate(pieces.tolist()):
                start, length = int(self.start[piece]), int(self.length[piece])
                ids[row, place : place + length] = self.reader.read(start, start + length)
                segments[row, place : place + length] = segment
                targets[row, place : place + length - 1] = True
                place += length
            for end in np.cumsum(self.length[pieces])[self.ends_document[pieces]].tolist():
                if end < self.capacity:  # the begin token of the next document, or padding, is where this one ends
                    targets[row, end - 1] = ids[row, end] == END_OF_TEXT_ID
        return PackedBatch(ids, segments, targets)

    def documents(self, step: int) -> pa.Table:
        """Whose tokens the rows of a step hold: BATCH_SCHEMA rows, by row of the batch and place in it."""
        rows = self.pieces(step)
        pieces = np.concatenate(rows)
        documents = self.document[pieces]
        columns = {
            "row": np.repeat(np.arange(len(rows)), [len(one) for one in rows]),
            "doc_id": pa.array([self.reader.doc_ids[index] for index in documents.tolist()], pa.string()),
            "start": self.start[pieces] - self.reader.starts[documents],
            "tokens": self.length[pieces],
        }
        return pa.table(columns, schema=BATCH_SCHEMA)

    def consumed(self, steps: int) -> pa.Table:
        """Which documents the first `steps` steps read: CONSUMED_SCHEMA rows, sorted by doc_id; exact."""
        reads = np.zeros(len(self.length), dtype=np.int64)
        for step in range(steps):
            np.add.at(reads, np.concatenate(self.pieces(step)), 1)
        first = np.searchsorted(self.document, np.arange(len(self.reader.doc_ids)))
        columns = {
            "doc_id": pa.array(self.reader.doc_ids, pa.string()),
            "tokens": np.add.reduceat(np.where(reads > 0, self.length, 0), first),
            "times": np.maximum.reduceat(reads, first),
            "reads": np.add.reduceat(reads * self.length, first),
        }
        table = pa.table(columns, schema=CONSUMED_SCHEMA)
        return table.filter(pa.array(columns["tokens"] > 0)).sort_by("doc_id")


def loader_of(reader: SplitReader, settings: Mapping[str, Any], seed: int) -> WindowLoader | PackedLoader:
    """The loader that a pretraining recipe (as a manifest spells it) reads with; seed: of the run."""
    kind = PackedLoader if settings.get("packing", "windows") == "best_fit" else WindowLoader
    return kind(reader, settings["batch_size"], settings["seq_len"], derive(seed, "order"))
