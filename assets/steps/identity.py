"""One document for each doc_id: of records in different files that carry the same id, the first keeps it.

The reader settles this inside a file. Across files it shows only when all shards are read, for example where a file was
given twice under two names. The later record becomes a reject, so every count still adds up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from assets.lake import Lake
from assets.parts import PartFile, PartWriter, read_part
from assets.schemas import table

REASON = "duplicate_record_id"
SEED = 0  # of the hashes of doc_ids, 8 bytes a document: of all pages only those of equal hash are looked at again
PLACE = ("warc_path", "warc_offset", "warc_inner_offset")


@dataclass
class ShardParts:
    """Part files that the documents step made."""

    documents: list[PartFile]
    rejects: list[PartFile]
    record_counts: list[PartFile] = field(default_factory=list)


def settle(lake: Lake, made: ShardParts) -> ShardParts:
    """The same parts where every doc_id is alone; else affected ones written anew, the later documents as rejects."""
    hashes = [_column(lake, part, ["doc_id"])["doc_id"].hash(SEED) for part in made.documents]
    if not hashes:
        return made
    twice = pl.concat(hashes).to_frame("hash").filter(pl.col("hash").is_duplicated())["hash"].unique()
    if twice.is_empty():
        return made
    ids = []
    for number, part in enumerate(made.documents):
        rows = _column(lake, part, ["doc_id", *PLACE])
        ids.append(rows.filter(pl.col("doc_id").hash(SEED).is_in(twice.implode())).with_columns(part=pl.lit(number)))
    every = pl.concat(ids).sort(*PLACE)
    later = every.filter(pl.col("doc_id").cum_count().over("doc_id") > 1)
    if later.is_empty():
        return made
    first = dict(every.unique("doc_id", keep="first", maintain_order=True).select("doc_id", "warc_path").iter_rows())
    documents = list(made.documents)
    moved: dict[str, list[dict]] = defaultdict(list)
    for number in later["part"].unique(maintain_order=True).to_list():
        part = documents[number]
        rows = read_part(lake.staging("documents"), part, lake.storage_options)
        gone = set(later.filter(pl.col("part") == number).select(PLACE).iter_rows())
        keep = [place not in gone for place in zip(*(rows[name].to_pylist() for name in PLACE))]
        documents[number] = _write(lake, "documents", part.partition, rows.filter(pa.array(keep)))
        for row in rows.filter(pa.array([not kept for kept in keep])).to_pylist():
            detail = f"{row['doc_id']} names a page of {first[row['doc_id']]} already"
            moved[part.partition["shard"]].append({**row, "reason": REASON, "detail": detail})
    rejects, counts = list(made.rejects), list(made.record_counts)
    for shard, rows in moved.items():
        partition = next(part.partition for part in documents if part.partition["shard"] == shard)
        rejects.append(_write(lake, "rejects", partition, _table("rejects", rows)))
        counts = _recount(lake, counts, partition, Counter(row["warc_path"] for row in rows))
    return ShardParts([part for part in documents if part.rows], rejects, counts)


def same_documents(one: pl.LazyFrame, other: pl.LazyFrame) -> bool:
    """Whether two tables with a column doc_id hold the same documents, each once."""
    ids, others = (frame.select(pl.col("doc_id").sort()).collect()["doc_id"] for frame in (one, other))
    return ids.equals(others) and ids.n_unique() == len(ids)


def _column(lake: Lake, part: PartFile, columns: list[str]) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(read_part(lake.staging("documents"), part, lake.storage_options, columns)))


def _recount(lake: Lake, counts: list[PartFile], partition: dict[str, str], moved: Counter[str]) -> list[PartFile]:
    """The counts with that many of a shard's pages as rejects."""
    ours = [part for part in counts if part.partition == partition]
    totals: Counter[tuple[str, str]] = Counter()
    for part in ours:
        for row in read_part(lake.staging("record_counts"), part, lake.storage_options).to_pylist():
            totals[row["warc_path"], row["kind"]] += row["records"]
    for warc_path, n in moved.items():
        totals[warc_path, "page"] -= n
        totals[warc_path, "reject"] += n
    rows = [{"warc_path": path, "kind": kind, "records": n} for (path, kind), n in sorted(totals.items()) if n]
    others = [part for part in counts if part.partition != partition]
    return [*others, _write(lake, "record_counts", partition, _table("record_counts", rows))]


def _table(name: str, rows: list[dict]) -> pa.Table:
    spec = table(name)
    return pa.Table.from_pylist(rows, schema=pa.schema([f for f in spec.schema if f.name not in spec.partition_by]))


def _write(lake: Lake, name: str, partition: dict[str, str], rows: pa.Table) -> PartFile:
    with PartWriter(lake.staging(name), table(name).schema, partition, lake.storage_options) as writer:
        writer.write(rows)
    return writer.part or PartFile("", "", 0, 0, partition)
