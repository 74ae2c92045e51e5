"""What differs between two sides of a comparison (assets.sides): counts, and each page that only one has, with why.

Pages are compared by doc_id (and snapshot, where both sides have them), over ranges of doc_ids, so memory grows with
neither side; files that two versions share are counted, not compared. Nothing is left out of the account: what a side
keeps is what is common plus what only it has, or AccountingError is raised.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from assets.sides import NO_SNAPSHOT, NOT_CRAWLED, UNKNOWN, WHY, Side
from assets.steps.funnel import AccountingError

RANGE_ROWS = 250_000  # of both sides together, compared at once
SAMPLES = 3  # pages named of each reason
HOSTS = 20  # shown: those that differ most
TAKEN_DOWN = "takedown"
CHANGED = ("doc_id", "snapshot", "host", "language", "url", "bytes", "bytes_b")
HEX = "0123456789abcdef"

OnRange = Callable[[int, int], None]  # ranges done, ranges in all


@dataclass(frozen=True)
class Count:
    """Documents, and the bytes of their texts in UTF-8."""

    documents: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Only:
    """The pages that one side keeps and the other does not. `reasons`: why not, most frequent first; `samples`: some
    pages of each reason, with all that is known of why."""

    count: Count
    reasons: dict[str, Count]
    languages: dict[str, Count]
    snapshots: dict[str, Count]
    samples: list[dict[str, Any]]


@dataclass(frozen=True)
class Whole:
    """One side: what it is, what it keeps, in all and by group, and its funnel. `lengths`: documents whose text has
    2^k to 2^(k+1) bytes, by k (-1: none). `tokens`: of the token shards made of it, where there are any."""

    name: str
    kind: str
    about: dict[str, Any]
    count: Count
    snapshots: dict[str, Count]
    languages: dict[str, Count]
    lengths: dict[int, int]
    funnel: dict[str, int] | None
    tokens: int | None = None


@dataclass(frozen=True)
class Difference:
    """Two sides compared. `changed` pages are in both with another text, where `texts_compared`; `hosts`: [host, count
    in a, count in b] of those that differ most; `n_hosts`: hosts of either side."""

    a: Whole
    b: Whole
    common: int
    texts_compared: bool
    changed: Count
    only_a: Only
    only_b: Only
    hosts: list[tuple[str, Count, Count]]
    n_hosts: int

    @property
    def is_empty(self) -> bool:
        """Whether both keep the same pages with the same texts."""
        return not (self.only_a.count.documents or self.only_b.count.documents or self.changed.documents)

    def to_json(self) -> dict[str, Any]:
        return {"empty": self.is_empty, **asdict(self)}


@dataclass
class _Tally:
    """Counts of one side's own pages, range by range."""

    reasons: Counter[str] = field(default_factory=Counter)
    groups: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, rows: pl.DataFrame) -> None:
        for column in ("reason", "language", "snapshot"):
            grouped = rows.group_by(column).agg(pl.len().alias("documents"), pl.col("bytes").sum())
            into = self.groups.setdefault(column, {"documents": Counter(), "bytes": Counter()})
            for name, documents, size in grouped.iter_rows():
                into["documents"][name or ""] += documents
                into["bytes"][name or ""] += size
        for (reason,), some in rows.group_by("reason", maintain_order=True):
            named = self.samples.setdefault(str(reason), [])
            named += some.head(SAMPLES - len(named)).to_dicts() if len(named) < SAMPLES else []

    def only(self) -> Only:
        counted = {column: _most_first(into) for column, into in self.groups.items()}
        reasons = counted.get("reason", {})
        count = Count(sum(c.documents for c in reasons.values()), sum(c.bytes for c in reasons.values()))
        samples = [row for name in reasons for row in self.samples[name]]
        return Only(count, reasons, counted.get("language", {}), counted.get("snapshot", {}), samples)


def compare(
    a: Side,
    b: Side,
    *,
    removed: dict[str, int] | None = None,
    tokens: tuple[int | None, int | None] = (None, None),
    out: Path | None = None,
    on_range: OnRange | None = None,
) -> Difference:
    """The difference of two sides. removed: doc_id → number of the takedown that removed the page.

    out: a folder for only_in_a.parquet, only_in_b.parquet and changed.parquet, sorted by doc_id. Raises
    AccountingError, and what the sides raise.
    """
    wholes = [_whole(side, n) for side, n in ((a, tokens[0]), (b, tokens[1]))]
    shared = set(a.parts) & set(b.parts)
    common = sum(a.parts[key].rows for key in shared)
    differing = [side.without(shared) if shared and side.without else side.kept for side in (a, b)]
    key = ["doc_id", "snapshot"] if a.snapshots is not None and b.snapshots is not None else ["doc_id"]
    tallies, changed = (_Tally(), _Tally()), Counter[str]()
    files = {name: _Sink(out / f"{name}.parquet" if out else None) for name in ("only_in_a", "only_in_b", "changed")}
    texts = a.texts_compare and b.texts_compare
    rows = sum(whole.count.documents for whole in wholes) - 2 * common
    ranges = list(_ranges(rows))
    for number, where in enumerate(ranges, start=1):
        both = [_narrow(scan(where), key, suffix) for scan, suffix in zip(differing, ("", "_b"))]
        joined = both[0].join(both[1], on=key, how="full", coalesce=True).collect(engine="streaming")
        in_a, in_b = pl.col("bytes").is_not_null(), pl.col("bytes_b").is_not_null()
        common += joined.select((in_a & in_b).sum()).item()
        other_text = joined.filter(in_a & in_b & (pl.col("text") != pl.col("text_b")) if texts else pl.lit(False))
        for place, (mine, other, have, lack) in enumerate(((a, b, in_a, in_b), (b, a, in_b, in_a))):
            ids = joined.filter(have & ~lack).select(key)
            only = _explain(differing[place](where), ids, key, where, mine, other, removed or {})
            tallies[place].add(only)
            files[("only_in_a", "only_in_b")[place]].write(only)
        changed.update({"documents": other_text.height, "bytes": int(other_text["bytes_b"].sum())})
        if out is not None:
            sizes = other_text.select(*key, "bytes_b")
            described = differing[0](where).join(sizes.lazy(), on=key).select(CHANGED).sort("doc_id", "snapshot")
            files["changed"].write(described.collect(engine="streaming"))
        if on_range:
            on_range(number, len(ranges))
    for sink in files.values():
        sink.close()
    hosts, n_hosts = _hosts(a, b)
    found = Difference(
        a=wholes[0],
        b=wholes[1],
        common=common,
        texts_compared=texts,
        changed=Count(changed["documents"], changed["bytes"]),
        only_a=tallies[0].only(),
        only_b=tallies[1].only(),
        hosts=hosts,
        n_hosts=n_hosts,
    )
    for whole, only in ((found.a, found.only_a), (found.b, found.only_b)):
        if whole.count.documents != common + only.count.documents:
            kept = f"{whole.name} keeps {whole.count.documents} pages"
            raise AccountingError(
                f"{kept}, not {common} common and {only.count.documents} of its own: an id occurs twice"
            )
    return found


class _Sink:
    """A Parquet file of the frames written, with the schema of the first; none where there is no path."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.writer: pq.ParquetWriter | None = None

    def write(self, rows: pl.DataFrame) -> None:
        if self.path is None:
            return
        table = rows.to_arrow()
        if self.writer is None:
            self.writer = pq.ParquetWriter(self.path, table.schema, compression="zstd")
        self.writer.write_table(table)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def _ranges(rows: int) -> Iterator[pl.Expr]:
    """Conditions on doc_id that are apart and cover all ids, each for about RANGE_ROWS rows of evenly spread ids."""
    n = min(256, max(1, math.ceil(rows / RANGE_ROWS)))
    bounds = [f"{256 * i // n:02x}" for i in range(1, n)]
    below, doc_id = None, pl.col("doc_id")
    for bound in [*bounds, None]:
        where = pl.lit(True) if below is None else doc_id >= below
        yield where if bound is None else where & (doc_id < bound)
        below = bound


def _narrow(rows: pl.LazyFrame, key: list[str], suffix: str) -> pl.LazyFrame:
    """The key, the size, and the text as 64 bits of its hash: what the comparison holds in memory."""
    text = pl.col("content_hash").hash(0)
    return rows.select(*key, pl.col("bytes").alias(f"bytes{suffix}"), text.alias(f"text{suffix}"))


def _explain(
    rows: pl.LazyFrame,
    ids: pl.DataFrame,
    key: list[str],
    where: pl.Expr,
    mine: Side,
    other: Side,
    removed: dict[str, int],
) -> pl.DataFrame:
    """The rows of these ids, sorted, each with why the other side does not keep it."""
    own = rows.join(ids.lazy(), on=key, how="semi").drop("content_hash").collect(engine="streaming")
    if own.is_empty():
        return own.with_columns(
            *(pl.lit(None, kind).alias(name) for name, kind in WHY.items()), takedown=pl.lit(None, pl.Int64)
        )
    said = other.explain(own.lazy().select("doc_id", "snapshot"), where).collect(engine="streaming")
    found = own.join(said.select("doc_id", "snapshot", *WHY), on=["doc_id", "snapshot"], how="left", nulls_equal=True)
    number = pl.col("doc_id").replace_strict(removed, default=None, return_dtype=pl.Int64)
    absent = pl.lit(False)
    if mine.snapshots is not None and other.snapshots is not None:
        absent = ~pl.col("snapshot").is_in(sorted(other.snapshots))
    reason = (
        pl.when(absent)
        .then(pl.lit(NO_SNAPSHOT))
        .when(pl.col("takedown").is_not_null() & (pl.col("reason") == NOT_CRAWLED))
        .then(pl.lit(TAKEN_DOWN))
        .otherwise(pl.col("reason").fill_null(UNKNOWN))
    )
    return found.with_columns(number.alias("takedown")).with_columns(reason.alias("reason")).sort("doc_id", "snapshot")


def _whole(side: Side, tokens: int | None) -> Whole:
    size = pl.col("bytes")
    # half a byte more, so that rounding cannot move a power of two into the bin below
    bits = pl.when(size > 0).then((size + 0.5).log(2).floor()).otherwise(-1).cast(pl.Int64).alias("bits")
    grouped = side.kept(pl.lit(True)).group_by("snapshot", "language", bits)
    counted = grouped.agg(pl.len().alias("documents"), size.sum()).collect(engine="streaming")
    lengths = counted.group_by("bits").agg(pl.col("documents").sum()).sort("bits")
    groups = {column: _counts(counted, column) for column in ("snapshot", "language")}
    return Whole(
        name=side.name,
        kind=side.kind,
        about=side.about,
        count=Count(int(counted["documents"].sum()), int(counted["bytes"].sum())),
        snapshots=groups["snapshot"] if side.snapshots is not None else {},
        languages=groups["language"],
        lengths={int(bits): int(n) for bits, n in lengths.iter_rows()},
        funnel=side.funnel(),
        tokens=tokens,
    )


def _counts(counted: pl.DataFrame, column: str) -> dict[str, Count]:
    """Counts by group, greatest first."""
    rows = counted.group_by(column).agg(pl.col("documents").sum(), pl.col("bytes").sum())
    rows = rows.sort("documents", column, descending=[True, False])
    return {str(name): Count(documents, size) for name, documents, size in rows.iter_rows()}


def _most_first(counters: dict[str, Counter[str]]) -> dict[str, Count]:
    names = sorted(counters["documents"], key=lambda name: (-counters["documents"][name], name))
    return {name: Count(counters["documents"][name], counters["bytes"][name]) for name in names}


def _hosts(a: Side, b: Side) -> tuple[list[tuple[str, Count, Count]], int]:
    """The hosts whose number of documents differs most, and how many hosts there are."""

    def counted(side: Side, suffix: str) -> pl.LazyFrame:
        rows = side.kept(pl.lit(True)).group_by(pl.col("host").fill_null(""))
        return rows.agg(pl.len().cast(pl.Int64).alias(f"n_{suffix}"), pl.col("bytes").sum().alias(f"bytes_{suffix}"))

    joined = counted(a, "a").join(counted(b, "b"), on="host", how="full", coalesce=True)
    filled = joined.with_columns(pl.exclude("host").fill_null(0)).collect(engine="streaming")
    change = (pl.col("n_b") - pl.col("n_a")).abs()
    most = filled.filter(change > 0).sort(change, "host", descending=[True, False]).head(HOSTS)
    named = most.select("host", "n_a", "bytes_a", "n_b", "bytes_b").iter_rows()
    return [(host, Count(n_a, size_a), Count(n_b, size_b)) for host, n_a, size_a, n_b, size_b in named], filled.height
