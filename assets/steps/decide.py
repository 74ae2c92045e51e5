"""Decisions: the verdict of a policy on every document, in the order of documents."""

from __future__ import annotations

import polars as pl

from assets import policy as policies
from assets.schemas import table


def decisions(annotations: pl.LazyFrame, policy: policies.Policy) -> pl.DataFrame:
    """One row per annotated document with the columns of the decisions table, sorted by shard and doc_id."""
    decided = policies.decide(annotations, policy).sort("snapshot", "shard", "doc_id")
    return decided.select(table("decisions").schema.names).collect(engine="streaming")
