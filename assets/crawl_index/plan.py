"""The plan: which records are fetched by which requests, what is left out and why, and what it will cost.

A plan is a Parquet file of records, sorted by WARC file and offset, with what was asked in its metadata; beside it lies
`<name>.left-out.parquet`. The same index, selection, opt-outs and held digests give the same bytes.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from assets.crawl_index.prices import Price
from assets.parts import file_sha256, sync
from assets.temporary import Owned

FORM = 1
KEY = b"stemma.crawl_plan"
RECORDS = {
    "url": pl.String,
    "host": pl.String,
    "content_digest": pl.String,  # base32 sha1 of the payload; null where the index has none
    "content_languages": pl.String,
    "warc_filename": pl.String,  # below the source
    "warc_offset": pl.Int64,  # bytes
    "warc_length": pl.Int64,  # bytes, compressed
    "request": pl.Int64,  # number of the request that moves the record
    "streamed": pl.Boolean,  # that request is for the file's whole chosen span
    "output": pl.Int64,  # number of the WARC file that the record comes into
}
LEFT_OUT = {
    "url": pl.String,
    "host": pl.String,
    "content_digest": pl.String,
    "warc_filename": pl.String,
    "warc_offset": pl.Int64,
    "warc_length": pl.Int64,
    "reason": pl.String,
}


class PlanUnusable(ValueError):
    """The file is no plan, or one that contradicts itself."""


@dataclass(frozen=True)
class Plan:
    """records: columns RECORDS; left_out: columns LEFT_OUT, sorted alike; facts: snapshot, source, selection, price."""

    records: pl.DataFrame
    left_out: pl.DataFrame
    facts: dict[str, Any]

    @property
    def snapshot(self) -> str:
        return self.facts["snapshot"]

    @property
    def source(self) -> str:
        """Folder or URL that the WARC file names are relative to."""
        return self.facts["source"]

    def requests(self) -> pl.DataFrame:
        """One row a request: request, warc_filename, start, end (bytes, end exclusive), records, output, streamed."""
        return (
            self.records.group_by("request", maintain_order=True)
            .agg(
                pl.col("warc_filename").first(),
                pl.col("warc_offset").min().alias("start"),
                (pl.col("warc_offset") + pl.col("warc_length")).max().alias("end"),
                pl.len().alias("records"),
                pl.col("output").first(),
                pl.col("streamed").first(),
            )
            .sort("request")
        )

    def totals(self) -> dict[str, Any]:
        """What the plan comes to, before anything moves: records, files, requests, bytes, dollars, left-outs."""
        requests = self.requests()
        size = int((requests["end"] - requests["start"]).sum())
        price = Price(**self.facts["price"])
        reasons = self.left_out["reason"].value_counts().sort("reason")
        return {
            "snapshot": self.snapshot,
            "source": self.source,
            "records": self.records.height,
            "record_bytes": int(self.records["warc_length"].sum()),
            "warc_files": self.records["warc_filename"].n_unique(),
            "streamed_files": self.records.filter("streamed")["warc_filename"].n_unique(),
            "requests": requests.height,
            "bytes": size,
            "price": price.name,
            "cost_usd": price.usd(requests.height, size),
            "outputs": self.records["output"].n_unique(),
            "left_out": dict(zip(reasons["reason"], reasons["count"])),
        }


def left_out_path(path: Path) -> Path:
    """Where the list of what a plan leaves out lies."""
    return path.with_name(path.name.removesuffix(".parquet") + ".left-out.parquet")


def write_plan(plan: Plan, path: Path) -> str:
    """Writes the plan, and before it what it leaves out, each whole or not at all; gives the plan's sha256."""
    facts = json.dumps({"form": FORM, **plan.facts}, sort_keys=True, separators=(",", ":")).encode()
    write_table(plan.left_out.to_arrow(), left_out_path(path), {KEY: facts})
    write_table(plan.records.to_arrow(), path, {KEY: facts})
    return file_sha256(path)


def write_table(table: pa.Table, path: Path, metadata: dict[bytes, bytes] | None = None) -> None:
    """A Parquet file under its name at once; the same rows give the same bytes."""
    temporary = Owned(path.parent, path.name)
    schema = pa.schema(
        [pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) or f.type == pa.string_view() else f.type)
         for f in table.schema],
        metadata,
    )  # fmt: skip
    try:
        pq.write_table(table.cast(schema), temporary.path, compression="zstd", compression_level=3)
        sync(temporary.path)
        os.replace(temporary.path, path)
        sync(path.parent)
    finally:
        temporary.drop()


def read_plan(path: Path) -> Plan:
    """Reads a plan and checks that it can be carried out. Raises PlanUnusable."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        facts = json.loads(metadata.get(KEY, b"null"))
        records = pl.read_parquet(path, hive_partitioning=False)
        rest = left_out_path(path)
        left_out = pl.read_parquet(rest) if rest.is_file() else pl.DataFrame(schema=LEFT_OUT)
    except (OSError, ValueError, pa.ArrowException, pl.exceptions.ComputeError) as error:
        raise PlanUnusable(f"{path} cannot be read as a plan: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(facts, dict) or facts.get("form") != FORM:
        raise PlanUnusable(f"{path} is no plan of this version: make it with `stemma crawl plan`")
    if dict(records.schema) != {name: kind() for name, kind in RECORDS.items()}:
        raise PlanUnusable(f"{path} has other columns than a plan: {', '.join(records.columns)}")
    facts.pop("form")
    plan = Plan(records, left_out, facts)
    _check(plan, path)
    return plan


def _check(plan: Plan, path: Path) -> None:
    from assets.crawl_index.columns import flaw

    index_names = {"warc_offset": "warc_record_offset", "warc_length": "warc_record_length"}
    flawed = plan.records.rename(index_names).filter(flaw().is_not_null())
    if flawed.height:
        raise PlanUnusable(f"{path}: the record of {flawed['url'][0]!r} has no usable place")
    for number in ("request", "output"):
        steps = plan.records[number].diff().drop_nulls()
        if plan.records.height and (plan.records[number][0] != 0 or not steps.is_between(0, 1).all()):
            raise PlanUnusable(f"{path}: the column {number} does not count up")
    inside = plan.records.group_by("request").agg(pl.col("warc_filename", "output").n_unique())
    if inside.filter((pl.col("warc_filename") > 1) | (pl.col("output") > 1)).height:
        raise PlanUnusable(f"{path}: a request reaches over two files")
    end = (pl.col("warc_offset") + pl.col("warc_length")).shift(1).over("warc_filename")
    if plan.records.filter(pl.col("warc_offset") < end).height:
        raise PlanUnusable(f"{path}: records overlap or are not sorted")
