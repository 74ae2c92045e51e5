"""Decisions: the verdict of a policy on every document, in the order of documents."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from assets import policy as policies
from assets.lake import Lake
from assets.policy.rules import CURATED
from assets.schemas import table


def annotated(lake: Lake, snapshot: str | None = None, columns: Collection[str] | None = None) -> pl.LazyFrame:
    """Everything that a policy may look at, one row per document, of one snapshot or all. Raises TableMissing.

    Where documents were compared with evaluation sets, `contaminated_by` names the sets that share a passage with one,
    joined by commas; null: none does. Where they were scored by the curators' classifier, `curated_quality` says how.
    columns: those that will be looked at (None: all); the scores are read only if they are among them.
    """
    annotations = lake.scan("annotations", snapshot=snapshot)
    if (columns is None or CURATED in columns) and lake.exists("page_quality", snapshot=snapshot):
        scores = lake.scan("page_quality", snapshot=snapshot).select("doc_id", "snapshot", CURATED)
        annotations = annotations.join(scores, on=["doc_id", "snapshot"], how="left", maintain_order="left")
    if not lake.exists("contamination", snapshot=snapshot):
        return annotations
    shared = lake.scan("contamination", snapshot=snapshot).group_by("doc_id")
    named = shared.agg(pl.col("set").unique().sort().str.join(",").alias("contaminated_by"))
    return annotations.join(named, on="doc_id", how="left", maintain_order="left")


def decisions(annotations: pl.LazyFrame, policy: policies.Policy) -> pl.DataFrame:
    """One row per annotated document with the columns of the decisions table, sorted by shard and doc_id."""
    decided = policies.decide(annotations, policy).sort("snapshot", "shard", "doc_id")
    return decided.select(table("decisions").schema.names).collect(engine="streaming")
