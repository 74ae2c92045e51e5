"""Carries out a plan: WARC files under `<out>/<snapshot>/`, and what came, what did not and what was never asked for.

Under `<out>/fetches/<plan>/` lie the plan and what it leaves out, `records.parquet` (each with the file and offset that
it came from), `rejects.parquet`, `cost.json` (what was planned, and what moved in all runs) and, last of all,
`manifest.json`. `<out>/left-out/<snapshot>/` is the published list of what did not come and why, a Parquet file a plan.

A fetch that was interrupted goes on where it was; one that is done is not done again. The WARC files hold the plan's
records in the plan's order, each gzip member as it lies in the crawl, so that the same plan gives the same bytes
whatever the order and number of requests were. They appear when all of them are whole, each at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from assets.crawl_index import ranges
from assets.crawl_index.journal import Held, Journal, Rejected, only_one
from assets.crawl_index.moving import Limits, Mover, Run, Wanted
from assets.crawl_index.plan import LEFT_OUT, Plan, left_out_path, read_plan, write_table
from assets.crawl_index.prices import Price
from assets.crawl_index.sources import open_source
from assets.crawl_index.spending import Spending
from assets.parts import file_sha256, sync

if TYPE_CHECKING:
    from assets.steps.scopes import Refusal

RECORDS = {
    "warc_path": pl.String,  # below the folder of the fetch
    "warc_offset": pl.Int64,
    "warc_length": pl.Int64,
    "url": pl.String,
    "content_digest": pl.String,
    "verified_by": pl.String,  # index, record or crc
    "source": pl.String,
    "source_filename": pl.String,
    "source_offset": pl.Int64,
}
REJECTS = {
    "source_filename": pl.String,
    "source_offset": pl.Int64,
    "source_length": pl.Int64,
    "url": pl.String,
    "content_digest": pl.String,
    "reason": pl.String,
    "detail": pl.String,
}


class FetchIncomplete(RuntimeError):
    """The source kept failing; what came is held, and the same command goes on from there."""


@dataclass(frozen=True)
class Outcome:
    """What a fetch made. plan: sha256 of the plan; files: (path below the folder, sha256, bytes); rejects by reason;
    requests and bytes are those of this run: nothing, if an earlier run had done all."""

    plan: str
    snapshot: str
    records: int
    rejects: dict[str, int]
    files: list[tuple[str, str, int]]
    requests: int
    bytes: int


def fetch(
    plan_path: Path,
    out: Path,
    *,
    source: str | None = None,
    storage_options: dict[str, str] | None = None,
    refusal: Refusal | None = None,
    limits: Limits | None = None,
    most_usd: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Fetches the records of a plan into `out`.

    source: instead of the plan's, as another mirror of the same files. refusal: what was taken down since the plan was
    made; it is not moved. most_usd: of all runs of the plan, retries included. progress: called with (records settled,
    records) after each. Raises PlanUnusable, AlreadyFetching, StateUnwritable, SourceRefused, FetchIncomplete,
    BudgetPassed.
    """
    plan, name = read_plan(plan_path), file_sha256(plan_path)
    state, done = out / ".fetch" / name[:12], out / "fetches" / name[:12]
    with only_one(state):
        requests = moved = 0
        if not (done / "manifest.json").is_file():
            origin = source or plan.source
            spending = Spending(state / "spent", Price(**plan.facts["price"]), most_usd)
            fetching = _fetch(plan, state, origin, storage_options, refusal, limits or Limits(), spending, progress)
            requests, moved = asyncio.run(fetching)
            _keep(plan_path, done / "plan.parquet")
            _publish(plan, name, state, out, done, origin, spending)
        manifest = json.loads((done / "manifest.json").read_text())
        shutil.rmtree(state)
    return Outcome(**manifest | {"files": [tuple(one) for one in manifest["files"]]}, requests=requests, bytes=moved)


async def _fetch(
    plan: Plan,
    state: Path,
    root: str,
    storage_options: dict[str, str] | None,
    refusal: Refusal | None,
    limits: Limits,
    spending: Spending,
    progress: Callable[[int, int], None],
) -> tuple[int, int]:
    """Brings every output to its whole file; (requests, bytes) of this run."""
    settled, total = 0, plan.records.height

    def one_more() -> None:
        nonlocal settled
        settled += 1
        progress(settled, total)

    async with open_source(root, storage_options, limits.timeout_s, limits.concurrency) as origin:
        mover = Mover(origin, limits, spending, one_more)
        for number, records in _outputs(plan):
            journal = Journal(state, number, records.height)
            try:
                _refuse(records, journal, refusal)
                settled += len(journal.settled)
                progress(settled, total)
                await mover.move(_runs(records, journal, plan.facts["gap_bytes"]), journal)
                if not mover.failures:
                    journal.finish()
            finally:
                journal.close()
            if mover.failures:
                raise FetchIncomplete(
                    f"{settled} of {total} records are here; the source failed {len(mover.failures)} requests"
                    f" ({mover.failures[0][:200]}); run the same command again to go on"
                )
    return mover.requests, mover.bytes


def _refuse(records: pl.DataFrame, journal: Journal, refusal: Refusal | None) -> None:
    """Rejects records that were taken down, those that came already excepted: the reader of pages refuses them."""
    if not refusal or journal.whole.is_file():
        return
    for number, url, host in records.select("number", "url", "host").iter_rows():
        takedown = None if number in journal.settled else refusal.of_page("", url, host)
        if takedown is not None:
            journal.reject(number, f"takedown:{takedown}", "asked for after the plan was made")


def _keep(plan_path: Path, copy: Path) -> None:
    """Puts the plan, and what it leaves out, beside what came of it."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(plan_path, copy)
    if left_out_path(plan_path).is_file():
        shutil.copyfile(left_out_path(plan_path), left_out_path(copy))


def _outputs(plan: Plan) -> Iterator[tuple[int, pl.DataFrame]]:
    """(output, its records with their `number` in the plan), in order; one empty output where nothing is planned."""
    numbered = plan.records.with_row_index("number")
    for key, records in numbered.group_by("output", maintain_order=True):
        yield int(str(key[0])), records


def _runs(records: pl.DataFrame, journal: Journal, gap: int) -> Iterator[Run]:
    """What is left of an output's requests: records that are settled are not moved again."""
    for _, one in records.group_by("request", maintain_order=True):
        starts, lengths = one["warc_offset"].to_list(), one["warc_length"].to_list()
        ends = [start + length for start, length in zip(starts, lengths)]
        wanted = [Wanted(*row) for row in zip(one["number"], starts, ends, one["url"], one["content_digest"])]
        left = [record.number not in journal.settled for record in wanted]
        widest = ends[-1] if one["streamed"][0] else gap
        for first, last in ranges.runs(starts, ends, left, widest):
            yield Run(one["warc_filename"][0], tuple(wanted[first : last + 1]))


def _publish(plan: Plan, name: str, state: Path, out: Path, done: Path, source: str, spending: Spending) -> None:
    """Makes the outputs visible and says what they are; may be interrupted and repeated anywhere."""
    held, rejects, files = [], [], []
    folder = out / plan.snapshot
    folder.mkdir(parents=True, exist_ok=True)
    for number, records in _outputs(plan):
        journal = Journal(state, number, records.height)
        journal.close()
        path = folder / f"{plan.snapshot}-{name[:12]}-{number:05}.warc.gz"
        inside = f"{plan.snapshot}/{path.name}"
        offset = 0
        for row in records.iter_rows(named=True):
            place = (row["warc_filename"], row["warc_offset"])
            one = journal.settled[row["number"]]
            if isinstance(one, Held):
                held.append((inside, offset, one.length, row["url"], row["content_digest"], one.by, source, *place))
                offset += one.length
            elif isinstance(one, Rejected):
                what = (row["url"], row["content_digest"], one.reason, one.detail)
                rejects.append((*place, row["warc_length"], *what))
        if offset:
            temporary = folder / f".{path.name}.tmp"
            temporary.unlink(missing_ok=True)
            os.link(journal.whole, temporary)  # it stays here until all is said, so that this can be repeated
            os.replace(temporary, path)
            temporary.unlink(missing_ok=True)  # replacing a link by another of the same file leaves both
            files.append((inside, file_sha256(path), offset))
    sync(folder)
    refused = pl.DataFrame(rejects, schema=REJECTS, orient="row")
    write_table(pl.DataFrame(held, schema=RECORDS, orient="row").to_arrow(), done / "records.parquet")
    write_table(refused.to_arrow(), done / "rejects.parquet")
    write_table(_did_not_come(plan, refused).to_arrow(), left_out_list(out, plan.snapshot, name[:12]))
    reasons = dict(refused["reason"].value_counts().sort("reason").iter_rows())
    moved = {"requests": spending.requests, "bytes": spending.bytes, "usd": spending.usd}
    _write_json(done / "cost.json", {"planned": plan.totals(), "moved": moved})
    _write_json(
        done / "manifest.json",
        {"plan": name, "snapshot": plan.snapshot, "records": len(held), "rejects": reasons, "files": files},
    )


def left_out_list(out: Path, snapshot: str, plan: str) -> Path:
    """Where the published list of what a plan did not bring lies: columns LEFT_OUT."""
    return out / "left-out" / snapshot / f"{plan}.parquet"


def _did_not_come(plan: Plan, rejects: pl.DataFrame) -> pl.DataFrame:
    """What the plan left out, then what was rejected, both with their reason."""
    place = ["warc_filename", "warc_offset"]
    names = {"source_filename": place[0], "source_offset": place[1]}
    refused = rejects.rename(names).select(*place, "reason").join(plan.records, on=place, how="left")
    return plan.left_out.vstack(refused.select(list(LEFT_OUT)))


def _write_json(path: Path, value: dict) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=1))
    sync(temporary)
    os.replace(temporary, path)
    sync(path.parent)
