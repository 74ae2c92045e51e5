"""What can be compared: a version of the corpus, a folder that `stemma corpus` wrote, what a policy keeps of its pages.

Each is a `Side`: the rows that it keeps, and an answer to why it does not keep another page. Rows are read as queries
over a range of doc_ids, so whoever compares decides how much is in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from assets.history import Held, rows_of
from assets.parts import PartFile
from assets.policy import Policy, decide, looked_at
from assets.restoring import MANIFEST
from assets.steps.clusters import REASONS
from assets.versions import CLUSTERS, CORPUS, DECIDED_FROM, DECISIONS, DOCUMENTS, CorpusVersion, Versions

NOT_CRAWLED = "not_in_crawl"  # the page is not among those that the other side decided about
NO_SNAPSHOT = "no_such_snapshot"
UNKNOWN = "unknown"  # the other side's records of that time are gone, or do not say
KEPT = ("doc_id", "snapshot", "host", "language", "url", "bytes", "content_hash")
WHY = {
    "reason": pl.String,
    "policy": pl.String,
    "score": pl.Float64,
    "threshold": pl.Float64,
    "duplicate_of": pl.String,
}

EMPTY = {**dict.fromkeys((name for name in KEPT if name != "bytes"), pl.String), "text_bytes": pl.Int64}

Scan = Callable[[pl.Expr], pl.LazyFrame]  # rows for which an expression over doc_id holds
Explain = Callable[[pl.LazyFrame, pl.Expr], pl.LazyFrame]  # (doc_id, snapshot) asked about, where → with columns WHY


class NotACorpus(LookupError):
    """The folder holds no corpus that `stemma corpus` or `stemma versions get` wrote."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    `kept`: rows with the columns KEPT; `bytes` are those of the text in UTF-8. `explain`: why pages are not kept, null
    where the side keeps them or cannot say. `funnel`: pages by reason, in order; None where nothing is known of them.
    `parts`: the part files of `kept` by snapshot, where files of both sides may be the same.
    """

    name: str
    kind: str
    kept: Scan
    explain: Explain
    funnel: Callable[[], dict[str, int] | None]
    snapshots: frozenset[str] | None = None
    texts_compare: bool = True
    parts: dict[tuple[str, str], PartFile] = field(default_factory=dict)
    without: Callable[[set[tuple[str, str]]], Scan] | None = None
    about: dict[str, Any] = field(default_factory=dict)


def of_version(known: Versions, version: CorpusVersion) -> Side:
    """A version of the corpus. Raises VersionGone."""
    known.readable(version)
    rows, tables = known.rows(version), known.decided_from(version)

    def kept(given: list[Held]) -> Scan:
        return lambda where: _kept(rows_of(known.lake, given, CORPUS).filter(where), "text_bytes")

    def without(shared: set[tuple[str, str]]) -> Scan:
        return kept([_less(held, shared) for held in rows])

    return Side(
        name=version.digest,
        kind="version",
        kept=kept(rows),
        explain=lambda asked, where: _why_by_tables(known, tables, asked, where),
        funnel=lambda: _funnel_of_tables(known, tables, version),
        snapshots=frozenset(version.snapshots),
        parts={(held.snapshot, part.sha256): part for held in rows for part in held.parts},
        without=without,
        about={**version.to_json(), "made_from": {name: _names(held) for name, held in tables.items()}},
    )


def of_folder(folder: Path) -> Side:
    """What `stemma corpus` wrote: OUT/corpus and OUT/documents. Raises NotACorpus."""
    corpus, pages = (sorted((folder / name).glob("*.parquet")) for name in ("corpus", "documents"))
    if not (folder / "funnel.json").is_file() or not pages:
        raise NotACorpus(f"{folder} holds no corpus: name a folder that `stemma corpus` wrote")
    documents = pl.scan_parquet(pages)
    rows = pl.scan_parquet(corpus) if corpus else pl.LazyFrame(schema=EMPTY).drop("snapshot")

    def explain(asked: pl.LazyFrame, where: pl.Expr) -> pl.LazyFrame:
        copy = pl.col("reason").is_in(REASONS)
        found = documents.filter(where).select(
            "doc_id",
            pl.lit(True).alias("__there"),
            "reason",
            "policy",
            "score",
            "threshold",
            pl.when(copy).then("cluster_id").alias("duplicate_of"),
        )
        return _explained(asked.join(found, on="doc_id", how="left"))

    def funnel() -> dict[str, int]:
        counted = documents.group_by("reason").len().collect(engine="streaming")
        return _ordered(dict(counted.iter_rows()))

    return Side(str(folder), "folder", lambda where: _kept(rows.filter(where), "text_bytes"), explain, funnel)


def of_restored(folder: Path, known: Versions | None = None) -> Side:
    """What `stemma versions get` wrote. known: of the home that the version came from, for what it was decided from.

    Raises NotACorpus.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        digest, snapshots = str(manifest["corpus_version"]), dict(manifest["snapshots"])
        files = [str(folder / name) for name in manifest["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotACorpus(f"{folder} holds no corpus that `stemma versions get` wrote ({error})") from error
    version = next((one for one in known.known if one.digest == digest), None) if known else None
    tables = known.decided_from(version) if known and version else {name: [] for name in DECIDED_FROM}
    if version is not None and known is not None:
        explain, funnel = partial(_why_by_tables, known, tables), lambda: _funnel_of_tables(known, tables, version)
    else:
        explain, funnel = _why_unknown, lambda: None
    hive = {name: pl.String() for name in ("snapshot", "shard")}
    rows = pl.scan_parquet(files, hive_partitioning=True, hive_schema=hive) if files else pl.LazyFrame(schema=EMPTY)
    return Side(
        name=str(folder),
        kind="restored version",
        kept=lambda where: _kept(rows.filter(where), "text_bytes"),
        explain=explain,
        funnel=funnel,
        snapshots=frozenset(snapshots),
        about={"digest": digest, "snapshots": snapshots},
    )


def _why_unknown(asked: pl.LazyFrame, where: pl.Expr) -> pl.LazyFrame:
    return asked.with_columns(pl.lit(None, kind).alias(name) for name, kind in WHY.items())


def of_policy(annotations: pl.LazyFrame, policy: Policy, pages: pl.LazyFrame | None = None) -> Side:
    """What a policy keeps, before duplicates are looked for. annotations: what it looks at, one row a page; pages:
    doc_id, host and url of them. Texts are as extracted, so they are not compared with those of a corpus.

    Raises PolicyError where the annotations lack a column.
    """
    present = annotations.collect_schema().names()
    snapshots = "snapshot" in present
    wanted = dict.fromkeys(["doc_id", *(["snapshot"] if snapshots else []), "language", "n_bytes", *looked_at(policy)])
    known = pages.collect_schema().names() if pages is not None else []
    on = ["doc_id", "snapshot"] if snapshots and "snapshot" in known else ["doc_id"]
    narrow = annotations.select([name for name in wanted if name in present])

    def decided(where: pl.Expr) -> pl.LazyFrame:
        rows = narrow.filter(where)
        said = decide(rows, policy).select("reason", "policy", "score", "threshold")
        return pl.concat(
            [rows.select("doc_id", *(["snapshot"] if snapshots else []), "language", "n_bytes"), said], how="horizontal"
        )

    def kept(where: pl.Expr) -> pl.LazyFrame:
        rows = decided(where).filter(pl.col("reason").is_null())
        if pages is None:
            return _kept(rows, "n_bytes")
        found = pages.filter(where).select(*on, "host", "url")
        return _kept(rows.join(found, on=on, how="left"), "n_bytes")

    def explain(asked: pl.LazyFrame, where: pl.Expr) -> pl.LazyFrame:
        key = _key(asked) if snapshots else ["doc_id"]
        found = _once(decided(where), key).select(
            *key, pl.lit(True).alias("__there"), "reason", "policy", "score", "threshold"
        )
        return _explained(
            asked.join(found.with_columns(pl.lit(None, pl.String).alias("duplicate_of")), on=key, how="left")
        )

    def funnel() -> dict[str, int]:
        counted = decided(pl.lit(True)).group_by("reason").len().collect(engine="streaming")
        return _ordered(dict(counted.iter_rows()), policy.reasons)

    names = annotations.select(pl.col("snapshot").unique()).collect()["snapshot"] if snapshots else None
    return Side(
        name=policy.id,
        kind="policy",
        kept=kept,
        explain=explain,
        funnel=funnel,
        snapshots=frozenset(names) if names is not None else None,
        texts_compare=False,
        about={"policy": policy.id, "digest": policy.digest},
    )


def _key(asked: pl.LazyFrame) -> list[str]:
    """By what pages are found: of a folder's pages nobody says the snapshot."""
    unknown = asked.select(pl.col("snapshot").is_null().any()).collect().item()
    return ["doc_id"] if unknown else ["doc_id", "snapshot"]


def _once(rows: pl.LazyFrame, key: list[str]) -> pl.LazyFrame:
    """One row for each doc_id, of the first snapshot, where snapshots are not asked about."""
    if "snapshot" in key:
        return rows
    present = rows.collect_schema().names()
    return rows.sort("snapshot").unique("doc_id", keep="first") if "snapshot" in present else rows


def _kept(rows: pl.LazyFrame, size: str) -> pl.LazyFrame:
    present = rows.collect_schema().names()
    columns = [
        pl.col(name) if name in present else pl.lit(None, pl.String).alias(name) for name in KEPT if name != "bytes"
    ]
    unknown = pl.col("language").fill_null("und")
    return (
        rows.select(*columns, pl.col(size).cast(pl.Int64).fill_null(0).alias("bytes"))
        .with_columns(unknown)
        .select(KEPT)
    )


def _less(held: Held, shared: set[tuple[str, str]]) -> Held:
    parts = tuple(part for part in held.parts if (held.snapshot, part.sha256) not in shared)
    return Held(held.table, held.snapshot, held.data_version, parts)


def _names(rows: list[Held]) -> dict[str, str]:
    return {held.snapshot: held.data_version for held in rows}


def _why_by_tables(known: Versions, tables: dict[str, list[Held]], asked: pl.LazyFrame, where: pl.Expr) -> pl.LazyFrame:
    """The first of: not crawled, a rule of the policy, a duplicate of another page; by the tables of that time."""
    key = _key(asked)
    told = {name: [held.snapshot for held in rows] for name, rows in tables.items()}

    def rows(name: str) -> pl.LazyFrame:
        found = rows_of(known.lake, tables[name], name).filter(where)
        return _once(found.join(asked.select(key), on=key, how="semi"), key)

    pages = rows(DOCUMENTS).select(*key, pl.lit(True).alias("__there"))
    rules = rows(DECISIONS).select(*key, "reason", "policy", "score", "threshold")
    copy = pl.col("survivor").not_()
    copies = rows(CLUSTERS).select(
        *key,
        pl.when(copy).then("reason").alias("__copy"),
        pl.when(copy).then("cluster_id").alias("duplicate_of"),
        pl.when(copy).then("similarity").alias("__similarity"),
    )
    joined = asked.join(pages, on=key, how="left").join(rules, on=key, how="left").join(copies, on=key, how="left")
    said = joined.with_columns(
        pl.coalesce("reason", "__copy").alias("reason"),
        pl.coalesce("__similarity", "score").alias("score"),
        # of a snapshot whose documents are gone nobody can say whether the page was there
        pl.when(pl.col("snapshot").is_in(told[DOCUMENTS]).fill_null(True))
        .then("__there")
        .otherwise(True)
        .alias("__there"),
    )
    return _explained(said.drop("__copy", "__similarity"))


def _explained(joined: pl.LazyFrame) -> pl.LazyFrame:
    """The columns WHY, with NOT_CRAWLED for pages that the side does not know."""
    absent = pl.col("__there").is_null()
    reason = pl.when(absent).then(pl.lit(NOT_CRAWLED)).otherwise(pl.col("reason"))
    return joined.with_columns(reason.alias("reason")).drop("__there")


def _funnel_of_tables(known: Versions, tables: dict[str, list[Held]], version: CorpusVersion) -> dict[str, int] | None:
    """Pages by reason; None where the tables of a snapshot are gone."""
    if any(len(tables[name]) < len(version.snapshots) for name in (DECISIONS, CLUSTERS)):
        return None
    rules = rows_of(known.lake, tables[DECISIONS], DECISIONS).group_by("reason").len().collect(engine="streaming")
    copies = rows_of(known.lake, tables[CLUSTERS], CLUSTERS).group_by("reason").len().collect(engine="streaming")
    counts = dict(rules.iter_rows())
    counts.pop(None, None)
    return _ordered({**counts, **dict(copies.iter_rows())})


def _ordered(counts: dict[str | None, int], order: list[str] | None = None) -> dict[str, int]:
    """pages, then reasons (in the policy's order or by count, duplicates last), then kept."""
    kept = counts.get(None, 0)
    place = {name: i for i, name in enumerate(order or [])}
    rules = sorted(
        (name for name in counts if name is not None and name not in REASONS),
        key=lambda name: (place.get(name, 0), -counts[name], name),
    )
    copies = [name for name in REASONS if name in counts]
    return {"pages": sum(counts.values()), **{name: counts[name] for name in [*rules, *copies]}, "kept": kept}
