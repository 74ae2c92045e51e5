"""Reach: everything in a home that holds some pages: table rows, token spans, checkpoints, exports, data made of them.

The inverse of a trace, answered from records alone: tables by the columns they need, artifacts by assets/descent.py.
Pages that a takedown removed are remembered in its record, so the models that had read them are still named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from assets import dedup_index
from assets.descent import MODELS, SAW, Holding, artifacts_held
from assets.judgements.store import Judgements
from assets.lake import Lake, TableMissing
from assets.parts import ROWS_PER_GROUP, filesystem, read_batches
from assets.schemas import TABLES
from assets.steps.ledger import FOUND, Ledger
from assets.steps.scopes import Refusal, Scope, near, selecting

PAGE = ("doc_id", "snapshot", "shard", "warc_path", "warc_offset", "url", "host", "content_hash")
PAGE_SCHEMA = {name: pl.Int64 if name == "warc_offset" else pl.String for name in PAGE}
EXPORTS, EXPORT = "exports.jsonl", "export"
INDEXED, MEMBERS = "corpus_clusters", "members of the index"
LABELLED, JUDGED = "labels", "labels of people"
SEARCHED, WORDS = "search_index", "words of the search index"
EMPTY_TEXT = "99aa06d3014798d86001c324468d497f"  # xxh3-128 of nothing: pages without text are no copies of each other


@dataclass(frozen=True)
class Reach:
    """What a scope covers and what holds it. `pages`: columns PAGE; `near`: the same of other members of their clusters
    and equal texts, with the column `of`, the page that each is near to; `holdings`: from tables to exports."""

    scope: Scope
    pages: pl.DataFrame
    near: pl.DataFrame
    holdings: list[Holding]

    @property
    def models(self) -> list[Holding]:
        """The checkpoints among the holdings."""
        return [one for one in self.holdings if one.asset in MODELS and one.what in SAW]


def reach(lake: Lake, scope: Scope, thorough: bool = False) -> Reach:
    """Everything that holds the pages of a scope, now or, of models, ever. Raises DamagedLedger.

    thorough: of a text, also near ones that the policy dropped; they have no signature, so every text is read.
    """
    pages = pages_of(lake, scope, thorough)
    ids = set(pages["doc_id"]) | named(scope)
    artifacts = artifacts_held(lake, ids)
    held = [*rows_held(lake, ids), *artifacts, *exports_held(lake, artifacts), *copies_held(lake, ids)]
    return Reach(scope, pages, near_pages(lake, pages), held)


def named(scope: Scope) -> set[str]:
    """The doc_id that a scope says itself: what was made of that document counts, whether or not its page is here."""
    return {scope.value} if scope.kind == "document" else set()


def pages_of(lake: Lake, scope: Scope, thorough: bool = False) -> pl.DataFrame:
    """The pages of a scope, sorted by doc_id: those in the documents, and those that takedowns removed."""
    frames = [pl.DataFrame(schema=PAGE_SCHEMA)]
    try:
        documents = lake.scan("documents").select(PAGE)
        found = documents.filter(selecting(scope)).collect(engine="streaming")
        if scope.kind == "text":
            close = (_texts_read if thorough else _near_texts)(lake, scope) - set(found["doc_id"])
            others = documents.filter(pl.col("doc_id").is_in(sorted(close))).collect(engine="streaming")
            found = pl.concat([found, others])
        frames.append(found.cast(PAGE_SCHEMA))  # type: ignore[arg-type]
    except TableMissing:
        pass
    frames += [
        pages if same(asked, scope) else pages.filter(selecting(scope)) for asked, pages in removed_pages(lake.local)
    ]
    return pl.concat(frames).unique("doc_id", keep="first", maintain_order=True).sort("doc_id")


def removed_pages(home: Path) -> list[tuple[Scope, pl.DataFrame]]:
    """(scope, pages by columns PAGE) of every takedown that was begun."""
    ledger = Ledger(home)
    found = [(entry.scope, ledger.read(entry.number, FOUND)) for entry in ledger.entries()]
    return [(scope, pl.DataFrame(one["pages"], schema=PAGE_SCHEMA)) for scope, one in found if one is not None]


def same(one: Scope, other: Scope) -> bool:
    """Whether two scopes ask for the same."""
    return (one.kind, one.value) == (other.kind, other.value)


def _near_texts(lake: Lake, scope: Scope) -> set[str]:
    """doc_ids of kept documents whose signature is near the text's, and of corpus rows that are the text."""
    from assets.steps.clusters import signature_array

    found: set[str] = set()
    if lake.exists("signatures") and scope.signature:
        parts, columns = lake.parts("signatures"), ["doc_id", "signature"]
        for batch in read_batches(lake.staging("signatures"), parts, columns, lake.storage_options, ROWS_PER_GROUP):
            rows = pa.Table.from_batches([batch])
            found |= set(rows["doc_id"].filter(pa.array(near(scope, signature_array(rows["signature"])))).to_pylist())
    if lake.exists("corpus"):
        rows = lake.scan("corpus").filter(pl.col("content_hash").is_in(list(scope.hashes))).select("doc_id").collect()
        found |= set(rows["doc_id"])
    return found


def _texts_read(lake: Lake, scope: Scope) -> set[str]:
    """doc_ids of all documents that the scope refuses by their text, and of those that `_near_texts` finds."""
    refusal, found = Refusal([(0, scope)]), _near_texts(lake, scope)
    columns = ["doc_id", "text"]
    for batch in read_batches(lake.staging("documents"), lake.parts("documents"), columns, lake.storage_options):
        for doc_id, text in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
            if refusal.of_text(text) is not None:
                found.add(doc_id)
    return found


def near_pages(lake: Lake, pages: pl.DataFrame) -> pl.DataFrame:
    """Pages that are not asked for but nearly are: of the same cluster, in their snapshot or over all, or of the same
    text in any snapshot."""
    empty = pl.DataFrame(schema={**PAGE_SCHEMA, "of": pl.String})
    ids = pages["doc_id"].to_list()
    if not ids or not lake.exists("documents"):
        return empty
    hashes = pages.filter(pl.col("content_hash") != EMPTY_TEXT)
    same = (
        lake.scan("documents")
        .filter(pl.col("content_hash").is_in(hashes["content_hash"].to_list()))
        .select("doc_id", "content_hash")
    )
    of_text = hashes.select("content_hash", pl.col("doc_id").alias("of")).unique("content_hash", keep="first")
    pairs = [same.join(of_text.lazy(), on="content_hash").select("doc_id", "of").collect(engine="streaming")]
    for table, cluster in (("duplicate_clusters", ["cluster_id", "snapshot"]), ("corpus_clusters", ["cluster_id"])):
        if lake.exists(table):
            clusters = lake.scan(table).select("doc_id", *cluster).collect()
            ours = clusters.filter(pl.col("doc_id").is_in(ids)).rename({"doc_id": "of"})
            ours = ours.sort("of").unique(cluster, keep="first")
            pairs.append(clusters.join(ours, on=cluster).select("doc_id", "of"))
    others = pl.concat(pairs).filter(~pl.col("doc_id").is_in(ids)).sort("of").unique("doc_id", keep="first")
    if others.is_empty():
        return empty
    rows = lake.scan("documents").select(PAGE).filter(pl.col("doc_id").is_in(others["doc_id"].to_list()))
    return rows.collect(engine="streaming").join(others, on="doc_id").sort("doc_id")


def rows_held(lake: Lake, ids: set[str]) -> list[Holding]:
    """The tables that have rows of these documents, by snapshot, the files of earlier versions, and the index."""
    held, wanted = [], pl.col("doc_id").is_in(sorted(ids))
    for name in TABLES if ids else ():
        try:
            rows = lake.scan(name)
        except TableMissing:
            continue
        if "doc_id" not in rows.collect_schema():  # asked of the table itself, for our schemas load the text kernels
            continue
        counted = rows.filter(wanted).group_by("snapshot").agg(pl.col("doc_id").n_unique())
        for snapshot, n in counted.sort("snapshot").collect(engine="streaming").iter_rows():
            held.append(Holding(name, snapshot, lake.version_of(name, snapshot=snapshot), "rows", n))
        if earlier := earlier_files(lake, name):
            n = (
                pl.scan_parquet(earlier, hive_partitioning=False, storage_options=lake.storage_options)
                .filter(wanted)
                .select(pl.col("doc_id").n_unique())
            )
            if n := n.collect(engine="streaming").item():
                held.append(Holding(name, "", "", "rows of earlier versions", n, current=False))
    if lake.exists(INDEXED):
        version, place = lake.version_of(INDEXED), str(lake.local / dedup_index.FOLDER)
        members = dedup_index.held(lake.local, ids)
        held += [Holding(INDEXED, name, version, MEMBERS, n, place=place) for name, n in members.items()]
    return [*held, *judged_held(lake, ids), *words_held(lake, ids)]


def judged_held(lake: Lake, ids: set[str]) -> list[Holding]:
    """What people said of these documents, in the store of labels, with the texts that they judged."""
    store = Judgements(lake.local)
    return [
        Holding(LABELLED, snapshot, "", JUDGED, n, place=str(store.path)) for snapshot, n in store.held(ids).items()
    ]


def words_held(lake: Lake, ids: set[str]) -> list[Holding]:
    """The full-text indexes that have words of these documents, by snapshot."""
    from assets.searching.index import held

    return [
        Holding(SEARCHED, snapshot, version, WORDS, n, place=place)
        for snapshot, version, n, place in held(lake.local, ids)
    ]


def tables_of_documents() -> list[str]:
    """The tables whose rows name a document."""
    return [name for name, one in TABLES.items() if "doc_id" in one.schema.names]


def earlier_files(lake: Lake, table: str) -> list[str]:
    """Part files of a table that its present version no longer names; of a bucket, those that a listing shows."""
    present = {f"{lake.staging(table)}/{part.path}" for part in lake.parts(table)}
    if not lake.is_local:
        fs, base = filesystem(lake.staging(table), lake.storage_options)
        inside = (path[len(base) :] for path in fs.find(base) if path.endswith(".parquet") and "_delta_log" not in path)
        return sorted({f"{lake.staging(table)}{path}" for path in inside} - present)
    there = {str(path) for path in Path(lake.staging(table)).rglob("*.parquet") if path.parent.name != "_delta_log"}
    return sorted(there - present)


def exports_held(lake: Lake, saw: Iterable[Holding]) -> list[Holding]:
    """The exports of these models: what `stemma export` wrote, wherever it lies."""
    by_digest = {one.version: one for one in saw if one.what in SAW}
    rows = [(row, by_digest[row["digest"]]) for row in exports(lake.local) if row["digest"] in by_digest]
    return [
        Holding(row["asset"], "", row["digest"], EXPORT, one.documents, one.tokens, place=row["directory"])
        for row, one in rows
    ]


def copies_held(lake: Lake, ids: set[str]) -> list[Holding]:
    """The folders into which `stemma versions get` wrote these documents; one of which nobody can tell any more,
    because folder and version are gone, is named with 0 documents."""
    from assets.history import rows_of
    from assets.versions import CORPUS, Versions

    written = [row for row in exports(lake.local) if row["asset"] == CORPUS] if ids else []
    known, held = Versions(lake) if written else None, []
    for row in written:
        version = next((one for one in known.known if one.digest == row["digest"]), None) if known else None
        files = sorted(Path(row["directory"], CORPUS).rglob("*.parquet"))
        if files:
            rows = pl.scan_parquet(files, hive_partitioning=False)
        elif known is not None and version is not None and version.readable:
            rows = rows_of(lake, known.rows(version), CORPUS)
        else:
            held.append(Holding(CORPUS, "", row["digest"], EXPORT, 0, place=row["directory"]))
            continue
        found = rows.filter(pl.col("doc_id").is_in(sorted(ids))).select(pl.col("doc_id").n_unique())
        if n := found.collect(engine="streaming").item():
            held.append(Holding(CORPUS, "", row["digest"], EXPORT, n, place=row["directory"]))
    return held


def exports(home: Path) -> Iterator[dict[str, str]]:
    """What `stemma export` and `stemma versions get` wrote from this home: directory, asset, digest."""
    path = home / EXPORTS
    if path.is_file():
        for line in path.read_text().splitlines():
            yield json.loads(line)
