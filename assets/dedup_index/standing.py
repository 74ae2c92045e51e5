"""How the members of a segment stand, as a file and as rows of corpus_clusters.

A survivor is named by its snapshot and its number there, so the file changes only when a decision does, or a segment
that it points into. Bytes a member: 2 + 4 + 8 + 1 = 15.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from assets.dedup_index import store
from assets.dedup_index.deciding import Standing
from assets.dedup_index.segments import Segments
from assets.lake import Lake
from assets.parts import PartFile, PartWriter
from assets.schemas import table
from assets.steps.clusters import EXACT_DUPLICATE, NEAR_DUPLICATE

SUFFIX = ".standing"
TABLE = "corpus_clusters"


def save(folder: Path, segments: Segments, now: Standing, k: int) -> str:
    """Writes how the members of the k-th segment stand; returns the file's digest."""
    mine = slice(*segments.offsets[k : k + 2])
    survivor = now.survivor[mine]
    used, which = np.unique(segments.segment_of(survivor), return_inverse=True)
    return store.write(
        folder,
        SUFFIX,
        {
            "snapshots": np.array([segments.snapshots[one].encode() for one in used.tolist()], np.bytes_),
            "survivor_snapshot": which.astype("<u2"),
            "survivor_number": (survivor - segments.offsets[used][which]).astype("<u4"),
            "similarity": now.similarity[mine],
            "copy": now.copy[mine].astype(np.uint8),
        },
    )


def load(folder: Path, digests: list[str], segments: Segments) -> Standing:
    """How the members of all segments stand, from a file for each. Raises CorruptIndex."""
    places = {snapshot: k for k, snapshot in enumerate(segments.snapshots)}
    read = [store.read(folder / f"{digest}{SUFFIX}") for digest in digests]
    survivor = [np.zeros(0, np.int64)]
    for one in read:
        offsets = segments.offsets[[places[name.decode()] for name in one["snapshots"].tolist()]]
        survivor.append(offsets[one["survivor_snapshot"]] + one["survivor_number"])
    return Standing(
        np.concatenate(survivor),
        np.concatenate([np.zeros(0), *(one["similarity"] for one in read)]),
        np.concatenate([np.zeros(0, bool), *(one["copy"].astype(bool) for one in read)]),
    )


def sizes(segments: Segments, standing: Standing) -> np.ndarray:
    """(n,) int64: documents of all snapshots in each member's cluster."""
    documents = np.concatenate([np.zeros(0, np.int64), *(one.documents for one in segments.segments)])
    return np.bincount(standing.survivor, documents, minlength=len(segments)).astype(np.int64)[standing.survivor]


def rows(segments: Segments, now: Standing, size: np.ndarray, k: int, language: str) -> pl.DataFrame:
    """Rows of corpus_clusters of the k-th segment's members, in the order of survival."""
    first, end = segments.offsets[k : k + 2].tolist()
    mine = slice(first, end)
    survivor = now.survivor[mine]
    stays = survivor == np.arange(first, end)
    frame = pl.DataFrame(
        {
            "doc_id": _strings(segments.segments[k].ids),
            "cluster_id": _strings(segments.take("ids", survivor)),
            "cluster_size": size[mine],
            "survivor": stays,
            "similarity": now.similarity[mine],
            "copy": now.copy[mine],
        }
    )
    exact, near = pl.when("copy").then(pl.lit(EXACT_DUPLICATE)), pl.lit(NEAR_DUPLICATE)
    return frame.select(
        "doc_id",
        pl.lit(segments.snapshots[k]).alias("snapshot"),
        pl.lit(language).alias("language"),
        "cluster_id",
        "cluster_size",
        "survivor",
        "similarity",
        exact.when(~pl.col("survivor")).then(near).alias("reason"),
    )


def _strings(ids: np.ndarray) -> pl.Series:
    """Strings of padded bytes, without a Python object for each."""
    letters = np.ascontiguousarray(ids).view(np.uint8).reshape(len(ids), -1)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.char.str_len(ids))])
    data = letters[np.arange(letters.shape[1]) < np.diff(ends)[:, None]]
    laid = pa.LargeStringArray.from_buffers(len(ids), pa.py_buffer(ends), pa.py_buffer(data))
    return pl.Series(laid, dtype=pl.String)


def write_part(lake: Lake, found: pl.DataFrame) -> PartFile:
    """Writes such rows of one snapshot as a part file of corpus_clusters, which no version of the table names yet."""
    partition = {"snapshot": str(found["snapshot"][0])}
    with PartWriter(lake.staging(TABLE), table(TABLE).schema, partition, lake.storage_options) as writer:
        writer.write(found.to_arrow())
    if writer.part is None:
        raise ValueError("a segment without members has no rows")
    return writer.part
