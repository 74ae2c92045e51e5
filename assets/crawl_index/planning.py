"""Makes a plan from an index: selects, leaves out with a reason, sorts, coalesces, and counts the cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.crawl_index import ranges
from assets.crawl_index.columns import flaw
from assets.crawl_index.files import FILE, ROW, index_files, matching_rows
from assets.crawl_index.optouts import Ledger, recorded
from assets.crawl_index.plan import LEFT_OUT, RECORDS, Plan
from assets.crawl_index.prices import Price, price, usual
from assets.crawl_index.selection import Selection

if TYPE_CHECKING:
    from assets.steps.scopes import Refusal

NAMES = {"url_host_name": "host", "warc_record_offset": "warc_offset", "warc_record_length": "warc_length"}
PLACE = ("warc_filename", "warc_offset")
COMMON_CRAWL = "https://data.commoncrawl.org"
ADDED = ("request", "streamed", "output")  # columns of a plan that are not the index's
SAME = "same_payload"
USUAL_BYTES = 20_000  # of a compressed page: how far to look for a slice that is measured in bytes


@dataclass(frozen=True)
class Share:
    """What of a selection one slice takes: at most so many records; the record that reaches so many bytes is the last.
    start: (name of an index file, row in it) where the slice before ended."""

    records: int | None = None
    bytes: int | None = None
    start: tuple[str, int] | None = None


def make_plan(
    index: str,
    selection: Selection,
    *,
    source: str | None = None,
    held: pl.Series | None = None,
    ledger: Ledger | None = None,
    refusal: Refusal | None = None,
    money: Price | None = None,
    storage_options: dict[str, str] | None = None,
    share: Share | None = None,
) -> Plan:
    """The plan for a selection of the index at `index` (folder, Parquet file, s3:// or https://).

    source: what WARC file names are relative to (default: the index's root where it is a remote one, Common Crawl's
    web server for local files). held: digests not to be fetched again. ledger: domains that opted out; refusal:
    takedowns of addresses and hosts (a document or text is known only when it is read). A digest is fetched once: of
    captures with the same payload the first in the index's order stays. share: only the next slice of it; where the
    index's files are others than when the slice before was planned, it begins at the beginning, and what is held keeps
    it from coming twice. Raises what `files.py` and `columns.py` raise.
    """
    files = index_files(index, selection.snapshot, storage_options)
    source = source or (index if "://" in index and not index.endswith(".parquet") else COMMON_CRAWL)
    money = money or price(usual(source))
    most = share or Share(records=selection.limit)
    first, row = _started(files, most.start)
    expected = most.records or (most.bytes and 1 + most.bytes // USUAL_BYTES)
    rows = matching_rows(files[first:], selection, storage_options, start_row=row, expected=expected)
    chosen, left_out, end = _sift(rows, most, held, ledger or Ledger(), refusal)
    facts = {
        "snapshot": selection.snapshot,
        "source": source.rstrip("/"),
        "selection": selection.to_json(),
        "price": asdict(money),
        "gap_bytes": money.gap_bytes(ranges.GAP_BYTES),
    }
    if share:
        places = [(_name(files[first + number]), row) for number, row in ([end] if end else [])]
        facts["slice"] = {"from": [_name(files[first]), row], "to": list(places[0]) if places else None}
    return Plan(_with_requests(chosen, money), left_out.sort(*PLACE, "url", "reason", nulls_last=True), facts)


def _name(path: str) -> str:
    return PurePosixPath(path).name


def _started(files: list[str], start: tuple[str, int] | None) -> tuple[int, int]:
    """(number of the file, row in it) where a slice begins."""
    names = [_name(path) for path in files]
    return (names.index(start[0]), start[1]) if start and names.count(start[0]) == 1 else (0, 0)


def _sift(
    batches: Iterable[pl.DataFrame],
    most: Share,
    held: pl.Series | None,
    ledger: Ledger,
    refusal: Refusal | None,
) -> tuple[pl.DataFrame, pl.DataFrame, tuple[int, int] | None]:
    """(chosen, left out, (file, row) behind the last row looked at) of the selected rows; reading stops when enough are
    chosen, and the end is None where there were no more rows."""
    empty = pl.DataFrame(schema={name: kind for name, kind in RECORDS.items() if name not in ADDED})
    chosen, left_out, end = empty, pl.DataFrame(schema=LEFT_OUT), None
    digests = held if held is not None else pl.Series(dtype=pl.String)
    for batch in batches:
        listed = pl.lit("opt_out:domain_ledger:") + ledger.covered(batch["url_host_name"])
        reasons = pl.coalesce(flaw(), _taken_down(batch, refusal), listed, recorded())
        rows = batch.with_columns(reasons.alias("reason")).rename(NAMES)
        taken = pl.struct(PLACE).is_in(chosen.select(pl.struct(PLACE)).to_series().implode())
        rows = _also(rows, taken, "duplicate_row")
        rows = _also(rows, pl.col("content_digest").is_in(digests.implode()), "held")
        rows = _also(rows, pl.col("content_digest").is_in(chosen["content_digest"].drop_nulls().implode()), SAME)
        rows = _also(rows, _seen_above(*PLACE), "duplicate_row")
        rows = _also(rows, _seen_above("content_digest"), SAME)
        rows = rows.filter(_rooms(most, chosen))
        good = rows.filter(pl.col("reason").is_null()).select(empty.columns)
        chosen = chosen.vstack(good)
        left_out = left_out.vstack(rows.filter(pl.col("reason").is_not_null()).select(list(LEFT_OUT)))
        if _is_full(most, chosen):
            end = rows[FILE][-1], rows[ROW][-1] + 1
            break
    chosen = chosen.sort(PLACE)
    reach = (pl.col("warc_offset") + pl.col("warc_length")).cum_max().shift(1).over("warc_filename")
    overlaps = (pl.col("warc_offset") < reach).fill_null(False)
    over = chosen.filter(overlaps).with_columns(pl.lit("overlapping").alias("reason")).select(list(LEFT_OUT))
    return chosen.filter(~overlaps), left_out.vstack(over), end


def _rooms(most: Share, chosen: pl.DataFrame) -> pl.Expr:
    """Whether there is still room when a row is looked at, by what was chosen above it."""
    good, tests = pl.col("reason").is_null(), [pl.lit(True)]
    if most.records is not None:
        tests.append(good.cum_sum().shift(1, fill_value=0) < most.records - chosen.height)
    if most.bytes is not None:
        size = pl.when(good).then("warc_length").otherwise(0).cum_sum().shift(1, fill_value=0)
        tests.append(size < most.bytes - chosen["warc_length"].sum())
    return pl.all_horizontal(tests)


def _is_full(most: Share, chosen: pl.DataFrame) -> bool:
    by_number = most.records is not None and chosen.height >= most.records
    return by_number or (most.bytes is not None and chosen["warc_length"].sum() >= most.bytes)


def _taken_down(rows: pl.DataFrame, refusal: Refusal | None) -> pl.Series:
    """takedown:<number> of each row whose address or host is to be refused; null elsewhere."""
    if not refusal:
        return pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    pages = zip(rows["url"], rows["url_host_name"].fill_null(""))
    numbers = [refusal.of_page("", url or "", host) for url, host in pages]
    return pl.Series([None if number is None else f"takedown:{number}" for number in numbers], dtype=pl.String)


def _also(rows: pl.DataFrame, condition: pl.Expr, reason: str) -> pl.DataFrame:
    """Rows with one more reason to be left out, for those that have none yet."""
    here = pl.when(condition.fill_null(False)).then(pl.lit(reason))
    return rows.with_columns(pl.coalesce("reason", here).alias("reason"))


def _seen_above(*key: str) -> pl.Expr:
    """Whether a usable row further up has the same key; null keys are never the same."""
    usable = pl.col("reason").is_null() & pl.all_horizontal(pl.col(key).is_not_null())
    return usable & (usable.cast(pl.Int64).cum_sum().over(key) > 1)


def _with_requests(rows: pl.DataFrame, money: Price) -> pl.DataFrame:
    """Sorted rows with `request`, `streamed` and `output`."""
    starts, lengths = rows["warc_offset"].to_numpy(), rows["warc_length"].to_numpy()
    output = ranges.outputs(lengths)
    names = rows["warc_filename"].rle_id().to_numpy().astype(np.int64)
    # a request belongs to one output: a file that two outputs share counts as two
    files = np.cumsum((np.diff(names, prepend=0) != 0) | (np.diff(output, prepend=0) != 0)) if len(names) else names
    request, streamed = ranges.requests(files, starts, starts + lengths, money)
    added = {"request": request, "streamed": streamed, "output": output}
    return rows.with_columns(pl.Series(name, added[name]) for name in ADDED).select(list(RECORDS))
