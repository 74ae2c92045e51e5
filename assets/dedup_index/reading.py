"""From a snapshot's tables to its segments: what an earlier segment says already is taken from it, the rest is read.

Texts are compared as within a snapshot: as they were extracted, after the line rules (assets.steps.signatures).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from assets.dedup_index import segments
from assets.dedup_index.segments import UNKNOWN_TIME, Members, Segment
from assets.lake import Lake
from assets.parts import ROWS_PER_GROUP, read_batches
from assets.steps.signatures import cleaned_shingles
from assets.steps.spill import SetSpill
from kernels.text import buckets, clusters, minhash
from kernels.text.bands import NO_BAND

OnPart = Callable[[int, int], None]


def write_segments(
    lake: Lake,
    snapshot: str,
    folder: Path,
    known: dict[str, Segment],
    line_filter: str,
    scratch: Path,
    on_part: OnPart | None = None,
) -> dict[str, tuple[str, int]]:
    """Writes the segments of a snapshot's corpus; returns (digest, members) by language.

    known: earlier segments of the snapshot by language, made with the same line rules: the texts of documents that are
    in them are not read again. scratch: an empty folder. Raises TableMissing.
    """
    rows = rows_of(lake, snapshot)
    written = {}
    reused = _reused(rows, known)
    unread = np.flatnonzero(reused < 0)
    spill, hashes = _signed(lake, snapshot, rows, unread, line_filter, scratch, on_part)
    languages = rows["language"]
    for language in sorted(languages.unique().to_list()):
        chosen = np.flatnonzero((languages == language).to_numpy())
        segment, numbers = known.get(language), reused[chosen]
        mine = hashes[chosen]
        if segment is not None:
            mine[numbers >= 0] = segment.hashes[numbers[numbers >= 0]]
        members, order = _members(rows[chosen], mine).sorted()
        numbers, place = numbers[order], chosen[order]
        lengths = spill.lengths(place)
        if segment is not None:
            lengths[numbers >= 0] = segment.set_lengths(numbers[numbers >= 0])
        written[language] = segments.write(folder, members, lengths, _Sets(segment, numbers, spill, place).between)
    return written


def rows_of(lake: Lake, snapshot: str) -> pl.DataFrame:
    """doc_id, language, time (microseconds), documents, text (hash, hex) of a snapshot's corpus, sorted by doc_id."""
    columns = ["doc_id", "language", "cluster_size", "fetched_at"]
    rows = lake.scan("corpus", snapshot=snapshot).select(columns).collect(engine="streaming")
    texts = lake.scan("documents", snapshot=snapshot).select("doc_id", "content_hash")
    texts = texts.join(rows.lazy().select("doc_id"), on="doc_id", how="semi").collect(engine="streaming")
    return (
        rows.join(texts, on="doc_id", how="inner")
        .sort("doc_id")
        .select(
            "doc_id",
            pl.col("language").fill_null("und"),
            pl.col("fetched_at").dt.epoch("us").fill_null(UNKNOWN_TIME).alias("time"),
            pl.col("cluster_size").alias("documents"),
            pl.col("content_hash").alias("text"),
        )
    )


def _members(rows: pl.DataFrame, hashes: np.ndarray) -> Members:
    return Members(
        _ids(rows["doc_id"]), rows["time"].to_numpy(), _texts(rows["text"]), rows["documents"].to_numpy(), hashes
    )


def _ids(column: pl.Series) -> np.ndarray:
    return np.array([value.encode() for value in column.to_list()], dtype=np.bytes_)


def _texts(column: pl.Series) -> np.ndarray:
    """(n, 2) uint64 of 128-bit hashes in hex."""
    return (
        np.frombuffer(b"".join(bytes.fromhex(value) for value in column.to_list()), ">u8")
        .astype(np.uint64)
        .reshape(-1, 2)
    )


def _reused(rows: pl.DataFrame, known: dict[str, Segment]) -> np.ndarray:
    """(n,) int64: the number of each row's document in the segment of its language, if it says the same; else -1."""
    found = np.full(rows.height, -1, np.int64)
    for language, segment in known.items():
        chosen = np.flatnonzero((rows["language"] == language).to_numpy())
        if len(chosen):
            numbers = segment.numbers_of(_ids(rows["doc_id"][chosen]))
            there = np.flatnonzero(numbers >= 0)
            same = (segment.texts[numbers[there]] == _texts(rows["text"][chosen[there]])).all(axis=1)
            found[chosen[there[same]]] = numbers[there[same]]
    return found


def _signed(
    lake: Lake,
    snapshot: str,
    rows: pl.DataFrame,
    unread: np.ndarray,
    line_filter: str,
    scratch: Path,
    on_part: OnPart | None,
) -> tuple[SetSpill, np.ndarray]:
    """(shingle sets by row, (n, 14) band hashes) of the rows `unread`, from their texts, a row group at a time."""
    spill, hashes = SetSpill(scratch / "sets", rows.height), np.full((rows.height, minhash.BANDS), NO_BAND, np.uint64)
    wanted = dict(zip(rows["doc_id"].gather(unread).to_list(), unread.tolist(), strict=True))
    parts = lake.parts("documents", snapshot=snapshot) if wanted else []
    for number, part in enumerate(parts):
        columns = ["doc_id", "text"]
        for batch in read_batches(lake.staging("documents"), [part], columns, lake.storage_options, ROWS_PER_GROUP):
            made, places = [], []
            for doc_id, text in zip(batch.column("doc_id").to_pylist(), batch.column("text"), strict=True):
                place = wanted.get(doc_id)
                if place is None:
                    continue
                shingles = cleaned_shingles(text.as_py(), line_filter)
                spill.append(place, clusters.shingle_set(shingles))
                if shingles.size:
                    made.append(minhash.fold(shingles))
                    places.append(place)
            if made:
                hashes[places] = buckets.band_hashes(np.stack(made)).T
        if on_part:
            on_part(number + 1, len(parts))
    spill.close()
    return spill, hashes


class _Sets:
    """The shingle sets of a new segment's members, each from the earlier segment or from what was read."""

    def __init__(self, segment: Segment | None, numbers: np.ndarray, spill: SetSpill, place: np.ndarray) -> None:
        self._segment, self._numbers, self._spill, self._place = segment, numbers, spill, place

    def between(self, first: int, end: int) -> np.ndarray:
        values, start, length = self._spill.of(self._place[first:end])
        found = []
        for k, number in enumerate(self._numbers[first:end].tolist()):
            if number >= 0 and self._segment is not None:
                found.append(self._segment.set_of(number))
            else:
                found.append(values[start[k] : start[k] + length[k]])
        return np.concatenate([np.zeros(0, np.uint64), *found])
