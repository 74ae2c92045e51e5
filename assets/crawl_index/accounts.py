"""The accounts of a snapshot: a row for each fetch into the crawl root, and whether each planned record is settled.

The figures are those that the plan fixes, for a row is the same bytes however the network behaved; what retries moved
beyond it is in each fetch's cost.json, and in the metadata of the asset.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pyarrow as pa

from assets import schemas
from assets.crawl_index.fetches import FOLDER, Done, Fetches
from assets.crawl_index.prices import price, usual
from assets.parts import filesystem

GIVEN, RECORDS, FILES = "given", "records", "files"
PLACE = ["source_filename", "source_offset"]


def table(crawl_root: str, snapshot: str, storage_options: dict[str, str] | None = None) -> pl.DataFrame:
    """Rows of the table `crawl_fetches`: fetches by plan in their order, whole files as one row, or that the files were
    given. Raises FetchesUnreadable."""
    fetches = Fetches.read(crawl_root, storage_options)
    found = [_by_plan(done) for done in fetches.done if done.facts["snapshot"] == snapshot]
    noted = fetches.noted_files(snapshot)
    if noted.height:
        found.append(_by_files(noted))
    rows = [{"snapshot": snapshot} | row for row in found or [_row(GIVEN)]]
    return pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(rows, schema=schemas.table("crawl_fetches").schema)))


def unaccounted(crawl_root: str, snapshot: str, storage_options: dict[str, str] | None = None) -> dict[str, int]:
    """Planned records of each fetch that are neither fetched, nor rejected, nor in a file that is there; and files that
    a manifest names and that are absent or of another size. Nothing, where all is well."""
    fs, base = filesystem(crawl_root, storage_options)
    fs.invalidate_cache()
    base, found = base.rstrip("/"), {}
    for done in Fetches.read(crawl_root, storage_options).done:
        if done.facts["snapshot"] != snapshot:
            continue
        folder = f"{base}/{FOLDER}/{done.name}"
        with fs.open(f"{folder}/plan.parquet", "rb") as file:
            names = {"warc_filename": PLACE[0], "warc_offset": PLACE[1]}
            planned = pl.read_parquet(file, columns=list(names), hive_partitioning=False).rename(names)
        settled = []
        for name in ("records", "rejects"):
            with fs.open(f"{folder}/{name}.parquet", "rb") as file:
                settled.append(pl.read_parquet(file, columns=PLACE))
        lost = planned.join(pl.concat(settled), on=PLACE, how="anti").height
        twice = sum(one.height for one in settled) - planned.height + lost
        absent = sum(not _is_there(fs, f"{base}/{name}", size) for name, _, size in done.manifest["files"])
        if lost or twice or absent:
            found[done.name] = lost + twice + absent
    return found


def _is_there(fs: Any, path: str, size: int) -> bool:
    return fs.exists(path) and int(fs.info(path)["size"]) == size


def _by_plan(done: Done) -> dict[str, Any]:
    planned, part = done.cost["planned"], done.facts.get("slice", {})
    return _row(
        RECORDS,
        fetch=done.name,
        subscription=part.get("asks", {}).get("subscription"),
        source=done.facts["source"],
        selection=json.dumps(done.facts["selection"], sort_keys=True),
        planned_records=planned["records"],
        planned_requests=planned["requests"],
        planned_bytes=planned["bytes"],
        price=planned["price"],
        planned_usd=planned["cost_usd"],
        fetched_records=done.manifest["records"],
        fetched_bytes=sum(size for _, _, size in done.manifest["files"]),
        rejected=_reasons(done.manifest["rejects"]),
        left_out=_reasons(planned["left_out"]),
        is_last=part.get("to", 0) is None if part else None,
    )


def _by_files(noted: pl.DataFrame) -> dict[str, Any]:
    came = noted.filter(pl.col("warc_path").is_not_null())
    missing, money = noted.height - came.height, price(usual(noted["source"][0]))
    requests, size = 2 * noted.height + 1, int(came["bytes"].sum())
    return _row(
        FILES,
        source=noted["source"][0],
        planned_records=noted.height,
        planned_requests=requests,
        planned_bytes=size,
        price=money.name,
        planned_usd=money.usd(requests, size),
        fetched_records=came.height,
        fetched_bytes=size,
        rejected=_reasons({"missing_file": missing} if missing else {}),
    )


def _row(kind: str, **values: Any) -> dict[str, Any]:
    nothing = {"planned_records": 0, "planned_requests": 0, "planned_bytes": 0, "planned_usd": 0.0,
               "fetched_records": 0, "fetched_bytes": 0, "rejected": [], "left_out": []}  # fmt: skip
    empty = dict.fromkeys(("fetch", "subscription", "source", "selection", "price", "is_last"))
    return {"kind": kind} | empty | nothing | values


def _reasons(counts: dict[str, int]) -> list[dict[str, Any]]:
    return [{"reason": reason, "records": number} for reason, number in sorted(counts.items())]
