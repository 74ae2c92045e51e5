"""Repeated text of a snapshot: how much of each surviving document recurs elsewhere, and what of it is to be cut.

Counted among the survivors of duplicate_clusters, for copies would make every line recur. What is cut is the policy's
choice (`dedup: cut_lines, cut_paragraphs, cut_substrings_bytes`; nothing by default, as in FineWeb, whose ablations
found line dedup to hurt). The first occurrence always stays: first in the order of survival, then in its document.

One pass over the texts lays lines (and, where substrings are asked for, texts) aside on disk; counting needs a share of
them in memory at a time. What grows with the snapshot is some numbers a document, and the spans to cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from assets.policy import Dedup
from assets.steps import lines
from assets.steps.clusters import of_members, survival
from assets.steps.substrings import TextSpill
from kernels.text.substrings import merged

SPAN = pl.List(pl.Struct({"start": pl.Int64, "end": pl.Int64}))

Rows = Callable[[], Iterable[tuple[str, pa.Table]]]


@dataclass(frozen=True)
class Repeats:
    """documents: rows of repeated_text but snapshot, sorted by doc_id; lines: rows of repeated_lines but snapshot."""

    documents: pl.DataFrame
    lines: pl.DataFrame


def find(survivors: pl.DataFrame, texts: Rows, scratch: Path, dedup: Dedup) -> Repeats:
    """What recurs in the survivors of a snapshot.

    survivors: doc_id, shard, host, fetched_at, in any order. texts: (shard, rows with doc_id and text) of at least
    those documents. scratch: an empty local folder.
    """
    ranked = survivors.sort(survival()).with_row_index("rank")
    n = ranked.height
    hosts = ranked["host"].rank("dense").fill_null(0).to_numpy()
    spill = lines.LineSpill(scratch / "lines")
    whole = TextSpill(scratch / "texts", n, dedup.cut_substrings_bytes) if dedup.cut_substrings_bytes else None
    counts, characters, length = (np.zeros(n, np.int64) for _ in range(3))
    for ranks, rows in of_members(texts, ranked):
        for place in np.flatnonzero(ranks >= 0).tolist():
            rank, text = int(ranks[place]), rows.column("text")[place].as_py()
            counts[rank], characters[rank] = spill.add(rank, int(hosts[rank]), text)
            length[rank] = len(text)
            if whole is not None:
                whole.add(rank, text)
    spill.flush()
    listed, shares, cuts = _lines(spill, ranked["doc_id"], characters, dedup)
    repeated = whole.repeats() if whole is not None else np.zeros((0, 3), np.int64)
    columns = {
        "doc_id": ranked["doc_id"],
        "shard": ranked["shard"],
        "lines": counts,
        "recurring_line_frac": shares[lines.LINE],
        "recurring_paragraph_frac": shares[lines.PARAGRAPH],
        "repeated_substring_frac": _share(repeated, length) if whole is not None else pl.lit(None, pl.Float64),
        "cut": _nested(merged(np.concatenate([cuts, repeated])), n),
    }
    return Repeats(ranked.select(**columns).sort("doc_id"), listed)


def _lines(
    spill: lines.LineSpill, ids: pl.Series, characters: np.ndarray, dedup: Dedup
) -> tuple[pl.DataFrame, list[np.ndarray], np.ndarray]:
    """(rows of repeated_lines, share of each document's characters by kind, spans to cut)."""
    n = len(ids)
    shares = [np.zeros(n), np.zeros(n)]
    wanted = {lines.LINE: dedup.cut_lines, lines.PARAGRAPH: dedup.cut_paragraphs}
    cuts, listed = [np.zeros((0, 3), np.int64)], []
    least = min([lines.RECURRING, *(documents for documents in wanted.values() if documents)])
    for found in spill.recurring(least):
        rows, first = found.occurrences, found.occurrences[found.first]
        for kind, share in enumerate(shares):
            chosen = (rows["kind"] == kind) & (found.documents[found.group] >= lines.RECURRING)
            spans = rows["end"][chosen].astype(np.int64) - rows["start"][chosen]
            share += np.bincount(rows["rank"][chosen], spans, minlength=n)
        for kind, documents in wanted.items():
            if documents:
                cuts.append(lines.later(found, kind, documents, dedup.cut_line_characters))
        listed.append(
            pl.DataFrame(
                {
                    "kind": pl.Series([lines.KINDS[kind] for kind in first["kind"]], dtype=pl.String),
                    "hash": pl.Series([f"{value:016x}" for value in first["hash"].tolist()], dtype=pl.String),
                    "documents": found.documents,
                    "hosts": found.hosts.astype(np.int64),
                    "occurrences": np.bincount(found.group, minlength=len(first)).astype(np.int64),
                    "doc_id": ids.gather(first["rank"].astype(np.int64)),
                    "start": first["start"].astype(np.int64),
                    "end": first["end"].astype(np.int64),
                }
            ).filter(pl.col("documents") >= lines.RECURRING)
        )
    shares = [np.divide(share, characters, out=np.zeros(n), where=characters > 0) for share in shares]
    empty = {"kind": pl.String, "hash": pl.String, "documents": pl.Int64, "hosts": pl.Int64, "occurrences": pl.Int64}
    schema = empty | {"doc_id": pl.String, "start": pl.Int64, "end": pl.Int64}
    order = ["kind", "documents", "hash"]
    every = pl.concat([pl.DataFrame(schema=schema), *listed]).sort(order, descending=[False, True, False])
    return every, shares, np.concatenate(cuts)


def _share(spans: np.ndarray, length: np.ndarray) -> pl.Series:
    """Share of each document's characters that lie in the spans, which are apart."""
    inside = np.bincount(spans[:, 0], spans[:, 2] - spans[:, 1], minlength=len(length))
    return pl.Series(np.divide(inside, length, out=np.zeros(len(length)), where=length > 0))


def _nested(spans: np.ndarray, n: int) -> pl.Series:
    """A list of {start, end} for each of n documents, from merged spans."""
    frame = pl.DataFrame({"rank": spans[:, 0], "start": spans[:, 1], "end": spans[:, 2]})
    grouped = frame.group_by("rank", maintain_order=True).agg(pl.struct("start", "end").alias("cut"))
    every = pl.DataFrame({"rank": np.arange(n)}).join(grouped, on="rank", how="left", maintain_order="left")
    return every["cut"].cast(SPAN).fill_null(pl.Series([[]], dtype=SPAN))
