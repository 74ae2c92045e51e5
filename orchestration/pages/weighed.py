"""The shelf's rows with what each page weighs: its tokens and the bytes that it has in the corpus; slices of them.

Tokens of a page in the token shards are those that its spans hold, exactly. Of any other page they are its bytes over
the bytes a token that the pages in the shards have, an estimate. Before there are shards nothing is said of tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar

import polars as pl

from assets.artifacts import ArtifactMissing
from assets.lake import Lake, TableMissing
from assets.safe_text import shown
from orchestration.pages.site import Site

TOKENS, EXACT, CORPUS_BYTES = "tokens", "tokens_exact", "corpus_bytes"
REMEMBERED = 12
T = TypeVar("T")
NO_SHARDS = "no token shards were made yet"


class NoSuchSlice(LookupError):
    """No page has such a snapshot, language, host or source."""


@dataclass(frozen=True)
class Weighed:
    """`rows`: the shelf's frame with TOKENS (Float64), EXACT and CORPUS_BYTES (null: in no corpus). `per_token`: bytes
    of extracted text a token, over `measured` pages; None without shards."""

    rows: pl.DataFrame
    stamp: str
    policy: str | None  # name@version that decided
    per_token: float | None
    measured: int


@dataclass(frozen=True)
class Part:
    """Which pages are looked at: those of one snapshot, language, host and WARC file, or of any (None)."""

    snapshot: str | None = None
    language: str | None = None
    host: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        for one in fields(self):  # a form sends "" for what was left open
            object.__setattr__(self, one.name, getattr(self, one.name) or None)

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows that are meant. Raises NoSuchSlice where there are none though there are pages."""
        found = rows
        for name, column in COLUMNS.items():
            value = getattr(self, name)
            if value is not None:
                found = found.filter(pl.col(column) == value)
            if rows.height and not found.height:
                kind = "WARC file" if name == "source" else name
                raise NoSuchSlice(f"no page has the {kind} {shown(value or '', 80)} here: take it out of the address")
        return found

    @property
    def is_of_records(self) -> bool:
        """Whether records that were no page can be counted for it: they have no language and no host."""
        return self.language is None and self.host is None


COLUMNS = {"snapshot": "snapshot", "language": "language", "host": "host", "source": "warc_path"}


def weighed(site: Site) -> Weighed:
    """The rows as the tables are now, kept until one of them changes. Raises NothingYet."""
    shelved = site.shelf.look()
    lake = site.lake()
    stamp = f"{shelved.stamp}|{_shards(lake)}|{_corpus(lake)}"
    kept = site.kept.get("weighed")
    if isinstance(kept, Weighed) and kept.stamp == stamp:
        return kept
    rows, per_token, measured = weigh(shelved.frame, _spans(lake), _corpus_bytes(lake))
    made = Weighed(rows, stamp, shelved.policy, per_token, measured)
    site.kept["weighed"] = made
    return made


def remembered(site: Site, key: tuple[object, ...], make: Callable[[], T]) -> T:
    """What was made of the present rows for a key: the last few of such things are kept."""
    kept = site.kept.setdefault("of rows", {})
    if key not in kept:
        made = make()
        while len(kept) >= REMEMBERED:
            kept.pop(next(iter(kept)), None)
        kept[key] = made
    return kept[key]


def weigh(
    rows: pl.DataFrame, spans: pl.DataFrame | None, corpus: pl.DataFrame | None
) -> tuple[pl.DataFrame, float | None, int]:
    """(rows with their weights, bytes a token, pages that this was measured on).

    spans: doc_id and length of every span of the shards; a page's tokens are those of one of its copies. corpus:
    doc_id, snapshot and text_bytes.
    """
    none = pl.lit(None, pl.Float64)
    if spans is None:
        rows = rows.with_columns(none.alias(TOKENS), pl.lit(False).alias(EXACT))
    else:
        own = spans.group_by("doc_id").agg(pl.col("length").max().cast(pl.Float64).alias(TOKENS))
        rows = rows.join(own, on="doc_id", how="left", maintain_order="left")
    found = rows.filter(pl.col(TOKENS).is_not_null()).select(pl.len(), pl.col("n_bytes").sum(), pl.col(TOKENS).sum())
    measured, size, tokens = found.row(0)
    per_token = size / tokens if tokens else None
    if spans is not None:
        estimate = none if per_token is None else (pl.col("n_bytes") / per_token).round()
        rows = rows.with_columns(pl.col(TOKENS).is_not_null().alias(EXACT), pl.col(TOKENS).fill_null(estimate))
    if corpus is None:
        return rows.with_columns(pl.lit(None, pl.Int64).alias(CORPUS_BYTES)), per_token, measured
    sizes = corpus.select("doc_id", "snapshot", pl.col("text_bytes").alias(CORPUS_BYTES))
    return rows.join(sizes, on=["doc_id", "snapshot"], how="left", maintain_order="left"), per_token, measured


def _shards(lake: Lake) -> str:
    try:
        return lake.artifacts.version_of("token_shards")
    except ArtifactMissing:
        return ""


def _corpus(lake: Lake) -> str:
    try:
        return lake.version_of("corpus")
    except TableMissing:
        return ""


def _spans(lake: Lake) -> pl.DataFrame | None:
    digest = _shards(lake)
    files = sorted((lake.artifacts.root / "token_shards" / digest).glob("*.spans.parquet")) if digest else []
    return pl.read_parquet(files, columns=["doc_id", "length"]) if files else None


def _corpus_bytes(lake: Lake) -> pl.DataFrame | None:
    try:
        return lake.scan("corpus").select("doc_id", "snapshot", "text_bytes").collect()
    except TableMissing:
        return None
