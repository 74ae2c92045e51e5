"""Duplicate clusters of a snapshot: one row for every kept document, with the document that stays in its place.

The survivor of a cluster is the document that was fetched first, the least doc_id among equals: a reader can check it
without knowing any score, changed statistics or thresholds cannot move it, and a page that the crawl meets again later
never displaces the one that is already in the corpus.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from kernels.text import clusters, minhash

NEAR_DUPLICATE = "near_duplicate"  # the reason that a removed document carries


def find(signed: pl.DataFrame, texts: pl.LazyFrame, threshold: float = clusters.THRESHOLD) -> pl.DataFrame:
    """Clusters of kept documents.

    signed: doc_id, fetched_at, signature (bytes, or null for a document too short to have one; it stays alone).
    texts: doc_id, text of at least those documents; read only for documents that share a band with another.
    Returns doc_id, cluster_id, cluster_size, survivor, similarity; sorted by doc_id.
    """
    frame = signed.sort("doc_id")
    with_signature = frame.filter(pl.col("signature").is_not_null())
    names = with_signature["doc_id"].to_list()
    signatures = minhash.from_bytes(with_signature["signature"].to_list())
    shingle_sets = _shingle_sets(names, signatures, texts)
    keys = _keys(with_signature)
    found = clusters.cluster(keys, signatures, lambda where: [shingle_sets[i] for i in where], threshold)
    clustered = pl.DataFrame(
        {
            "doc_id": pl.Series(names, dtype=pl.String),
            "cluster_id": pl.Series([names[i] for i in found.survivor], dtype=pl.String),
            "cluster_size": found.size.astype(np.int64),
            "survivor": found.survivor == np.arange(len(names)),
            "similarity": found.similarity,
        }
    )
    alone = frame.filter(pl.col("signature").is_null()).select(
        "doc_id",
        pl.col("doc_id").alias("cluster_id"),
        pl.lit(1, pl.Int64).alias("cluster_size"),
        pl.lit(True).alias("survivor"),
        pl.lit(1.0).alias("similarity"),
    )
    return pl.concat([clustered, alone]).sort("doc_id")


def _keys(frame: pl.DataFrame) -> list[tuple[bool, int, str]]:
    """The order of survival: first fetched (unknown times last), then least doc_id."""
    fetched = frame["fetched_at"].dt.timestamp("us").to_list()
    return [(time is None, time or 0, name) for time, name in zip(fetched, frame["doc_id"], strict=True)]


def _shingle_sets(names: Sequence[str], signatures: np.ndarray, texts: pl.LazyFrame) -> dict[int, np.ndarray]:
    """Shingle sets by position, of the documents that share a band with another one."""
    from assets.steps.signatures import cleaned_shingles

    shared = np.flatnonzero((clusters.band_keys(signatures) >= 0).any(axis=1)) if len(names) else np.zeros(0, np.int64)
    position = {names[i]: i for i in shared.tolist()}
    wanted = texts.filter(pl.col("doc_id").is_in(list(position))).select("doc_id", "text").collect(engine="streaming")
    return {position[name]: clusters.shingle_set(cleaned_shingles(text)) for name, text in wanted.iter_rows()}
