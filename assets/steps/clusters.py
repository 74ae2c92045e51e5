"""Duplicate clusters of a snapshot: one row for every kept document, with the document that stays in its place.

Copies are decided first, by content_hash alone; of each text the first document goes on to MinHash, where candidates
are verified by exact similarity. The survivor of a cluster is the document that was fetched first, the least doc_id
among equals: a reader can check it without knowing any score, changed statistics or thresholds cannot move it, and a
page that the crawl meets again later never displaces the one that is already in the corpus.

No texts and no signatures are held in memory: signatures come part by part and leave band hashes on disk, texts come
part by part and leave the shingle sets of documents that have a candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from assets.steps.spill import BandSpill, SetSpill
from kernels.text import buckets, clusters
from kernels.text.bands import HASHES

EXACT_DUPLICATE = "exact_duplicate"  # the reasons that a removed document carries
NEAR_DUPLICATE = "near_duplicate"
REASONS = (EXACT_DUPLICATE, NEAR_DUPLICATE)  # in the order in which they are decided
TOO_MANY_CANDIDATES = "too_many_candidates"  # why a document stays although not all its candidates were compared

Rows = Callable[[], Iterable[tuple[str, pa.Table]]]  # (shard, some rows of it) in a fixed order, read anew each time


def find(
    members: pl.DataFrame,
    signatures: Rows,
    texts: Rows,
    scratch: Path,
    threshold: float = clusters.THRESHOLD,
    line_filter: str = "c4",
) -> pl.DataFrame:
    """Clusters of kept documents.

    members: doc_id, shard, fetched_at, content_hash of the kept documents, in any order. signatures: doc_id, signature
    (896 bytes) of those that have one; the others have no near-duplicates. texts: doc_id, text of at least the members.
    scratch: an empty local folder. line_filter: as the documents were signed with. Returns the columns of
    duplicate_clusters but snapshot, sorted by doc_id.
    """
    ranked = members.sort(survival()).with_row_index("rank")
    original = ranked.select(pl.col("rank").cast(pl.Int64).min().over("content_hash")).to_series().to_numpy()
    near = _near_duplicates(
        ranked.select("doc_id", "shard", "rank"), original, signatures, texts, scratch, threshold, line_filter
    )
    survivor = near.survivor[original]
    copies = np.bincount(original, minlength=len(original))
    component_size = np.bincount(near.component, copies, minlength=len(original)).astype(np.int64)
    cluster_size = np.bincount(survivor, minlength=len(original))
    ids = ranked["doc_id"]
    rank = ids.arg_sort().to_numpy()  # of the rows to come, in the order of doc_ids
    first, stays = original[rank], survivor[rank]
    frame = pl.DataFrame(
        {
            "doc_id": ids.gather(rank),
            "shard": ranked["shard"].gather(rank),
            "cluster_id": ids.gather(stays),
            "cluster_size": cluster_size[stays].astype(np.int64),
            "survivor": stays == rank,
            "similarity": near.similarity[first],
            "component_size": component_size[near.component[first]],
            "copy": first != rank,
            "limited": near.limited[rank],
        }
    )
    exact, close = pl.when("copy").then(pl.lit(EXACT_DUPLICATE)), pl.lit(NEAR_DUPLICATE)
    return frame.with_columns(
        exact.when(~pl.col("survivor")).then(close).alias("reason"),
        pl.when("limited").then(pl.lit(TOO_MANY_CANDIDATES)).alias("unverified"),
    ).drop("copy", "limited")


def survival() -> list[pl.Expr]:
    """The order of survival, as columns to sort by: first fetched, unknown times last, then least doc_id."""
    return [pl.col("fetched_at").is_null(), pl.col("fetched_at"), pl.col("doc_id")]


class _Near:
    """Near-duplicates by rank; a document without a candidate is its own survivor and its own component."""

    def __init__(self, n: int) -> None:
        self.survivor, self.component = np.arange(n), np.arange(n)
        self.similarity, self.limited = np.ones(n), np.zeros(n, bool)


def _near_duplicates(
    ranked: pl.DataFrame,
    original: np.ndarray,
    signatures: Rows,
    texts: Rows,
    scratch: Path,
    threshold: float,
    line_filter: str,
) -> _Near:
    n = ranked.height
    made = _Near(n)
    spill = BandSpill(scratch / "bands")
    signed: list[np.ndarray] = [np.zeros(0, np.int64)]
    for ranks, rows in of_members(signatures, ranked):
        chosen = np.flatnonzero((ranks >= 0) & (original[ranks] == ranks))  # copies follow their original
        spill.append(signature_array(rows.column("signature"))[chosen])
        signed.append(ranks[chosen])
    spill.close()
    rank = np.concatenate(signed)
    label = buckets.components(len(rank), spill.bands())
    sets = _shingle_sets(label, rank, texts, ranked, scratch, line_filter)
    found = clusters.decide(label, rank, spill.of, lambda batch: sets.of(rank[batch]), threshold)
    made.survivor[rank] = rank[found.survivor]
    made.component[rank] = rank[label]
    made.similarity[rank], made.limited[rank] = found.similarity, found.limited
    return made


def _shingle_sets(
    label: np.ndarray, rank: np.ndarray, texts: Rows, ranked: pl.DataFrame, scratch: Path, line_filter: str
) -> SetSpill:
    """The shingle sets of documents that have a candidate, by rank."""
    from assets.steps.signatures import cleaned_shingles

    wanted = np.zeros(ranked.height, bool)
    wanted[rank[np.bincount(label, minlength=len(label))[label] > 1]] = True
    sets = SetSpill(scratch / "sets", ranked.height)
    if wanted.any():
        for ranks, rows in of_members(texts, ranked):
            for place in np.flatnonzero((ranks >= 0) & wanted[ranks]).tolist():
                hashes = cleaned_shingles(rows.column("text")[place].as_py(), line_filter)
                sets.append(int(ranks[place]), clusters.shingle_set(hashes))
    sets.close()
    return sets


def of_members(read: Rows, ranked: pl.DataFrame) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """(ranks, rows): the rank of each row's document, -1 for one that is no member. ranked: doc_id, shard, rank."""
    members = ranked.select("shard", "doc_id", pl.col("rank").cast(pl.Int64))
    by_shard = {str(shard): rows for (shard,), rows in members.partition_by("shard", as_dict=True).items()}
    for shard, rows in read():
        if shard in by_shard:
            ids = pl.DataFrame({"doc_id": pl.Series(rows.column("doc_id"), dtype=pl.String)})
            joined = ids.join(by_shard[shard], on="doc_id", how="left", maintain_order="left")
            yield joined["rank"].fill_null(-1).to_numpy(), rows


def signature_array(column: pa.ChunkedArray) -> np.ndarray:
    """(m, 112) uint64 of a column of signatures, without a Python object for each. Raises ValueError for another width
    than 896 bytes, or a null."""
    width, found = HASHES * 8, [np.zeros((0, HASHES), np.uint64)]
    for chunk in column.chunks:
        values = chunk.cast(pa.large_binary())
        _, offsets, data = values.buffers()
        ends = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
        if values.null_count or (np.diff(ends) != width).any():
            raise ValueError(f"a signature has not {width} bytes")
        if len(values):
            found.append(np.frombuffer(data, "<u8", len(values) * HASHES, int(ends[0])).reshape(-1, HASHES))
    return np.concatenate(found[1:]) if len(found) > 2 else found[-1]
