"""Where the Parquet files of one snapshot's index lie: in a folder, under s3:// or behind https://.

Common Crawl's own layout is known (`cc-index/table/cc-main/warc/crawl=…/subset=warc/`), on S3 and by its published list
of paths on HTTPS, which has no listing; any other folder or file of the same schema will do.
"""

from __future__ import annotations

import gzip
import posixpath
from collections.abc import Iterator

import polars as pl

from assets.crawl_index.columns import ColumnMissing, read_columns
from assets.crawl_index.selection import Selection
from assets.parts import filesystem

TABLE = "cc-index/table/cc-main/warc"
PATHS = "crawl-data/{snapshot}/cc-index-table.paths.gz"
SUBSET = "warc"  # successful captures; redirects and robots.txt have subsets of their own
MAX_PATHS_BYTES = 64 << 20
TIMEOUT_S = 60.0
FIRST_WINDOW_ROWS = 1 << 13
FILE, ROW = "index_file", "index_row"


class IndexMissing(LookupError):
    """No index of the snapshot is where it was looked for."""


class IndexUnreadable(RuntimeError):
    """The index is there and cannot be read: damaged, refused, or the server gave up."""


def index_files(index: str, snapshot: str, storage_options: dict[str, str] | None = None) -> list[str]:
    """Paths or URLs of the Parquet files that may hold rows of the snapshot, sorted. Raises IndexMissing."""
    if index.endswith(".parquet"):
        return [index]
    found = _published(index, snapshot) if index.startswith(("http://", "https://")) else None
    if found is None:
        found = _listed(index, snapshot, storage_options)
    if not found:
        raise IndexMissing(f"{index} holds no index of {snapshot}: expected {TABLE}/crawl={snapshot}/subset={SUBSET}/")
    return sorted(found)


def _listed(index: str, snapshot: str, storage_options: dict[str, str] | None) -> list[str]:
    fs, base = filesystem(index, storage_options)
    scheme = index[: index.index("://") + 3] if "://" in index else ""
    base = base.rstrip("/")
    if not fs.isdir(base):
        raise IndexMissing(f"the index {index} is no folder and no Parquet file")
    for folder in (f"{base}/{TABLE}/crawl={snapshot}", f"{base}/crawl={snapshot}", base):
        if fs.isdir(folder):
            paths = [path for path in fs.find(folder) if path.endswith(".parquet") and _may_hold(path, snapshot)]
            return [scheme + path for path in paths]
    return []


def _may_hold(path: str, snapshot: str) -> bool:
    """False where a folder of the path names another snapshot or subset."""
    keys = dict(part.split("=", 1) for part in path.split("/")[:-1] if "=" in part)
    return keys.get("crawl", snapshot) == snapshot and keys.get("subset", SUBSET) == SUBSET


def web_file(url: str) -> bytes | None:
    """A small file of a web server; None where it has none. Raises IndexUnreadable."""
    import httpx
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    @retry(
        retry=retry_if_exception_type((httpx.TransportError, IndexUnreadable)),
        stop=stop_after_attempt(6),
        wait=wait_random_exponential(multiplier=0.5, max=30),
        reraise=True,
    )
    def get() -> httpx.Response:
        answer = httpx.get(url, timeout=TIMEOUT_S, follow_redirects=True)
        if answer.status_code == 429 or answer.status_code >= 500:
            raise IndexUnreadable(f"{url} answers {answer.status_code}")
        return answer

    try:
        answer = get()
    except httpx.TransportError as error:
        raise IndexUnreadable(f"{url} cannot be reached: {error}") from error
    return answer.content if answer.status_code == 200 else None


def _published(index: str, snapshot: str) -> list[str]:
    """URLs by Common Crawl's list of the index's paths."""
    url = posixpath.join(index, PATHS.format(snapshot=snapshot))
    content = web_file(url)
    if content is None:
        raise IndexMissing(f"there is no {url}: no index of {snapshot} is published there")
    try:
        lines = gzip.decompress(content).decode("ascii").split()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise IndexUnreadable(f"{url} is no gzip file of paths: {error}") from error
    return [posixpath.join(index, path) for path in lines if path.endswith(".parquet") and _may_hold(path, snapshot)]


def matching_rows(
    files: list[str],
    selection: Selection,
    storage_options: dict[str, str] | None = None,
    *,
    start_row: int = 0,
    expected: int | None = None,
) -> Iterator[pl.DataFrame]:
    """The selected rows in the files' order: the columns of `columns.py`, the file's number and the row's in it.

    Each frame holds rows of one file: all, or where few are `expected` (default: the limit) those of a window of it, so
    that whoever has enough reads no further. A file without a selected row gives an empty frame. start_row: of the
    first file. Raises ColumnMissing, ColumnType, IndexUnreadable.
    """
    for number, path in enumerate(files):
        options = storage_options if path.startswith("s3://") else None
        try:
            frame = pl.scan_parquet(path, hive_partitioning=False, storage_options=options, row_index_name=ROW)
            first = 0 if number else start_row
            for start, rows in _windows(frame, selection, expected or selection.limit, first):
                part = frame.filter(pl.col(ROW) >= start) if rows is None else frame.slice(start, rows)
                yield _select(part, path, selection).collect().with_columns(pl.lit(number, pl.Int64).alias(FILE))
        except (pl.exceptions.ComputeError, FileNotFoundError, OSError) as error:
            raise IndexUnreadable(f"{path}: {' '.join(str(error).split())[:300]}") from error


def _windows(
    frame: pl.LazyFrame, selection: Selection, expected: int | None, first: int
) -> Iterator[tuple[int, int | None]]:
    """(first row, rows) to look through one after the other, growing twofold. Where nobody says how many are expected,
    all at once; also where hosts or digests are named, for then statistics skip the row groups, which they do not
    inside a window."""
    if expected is None or selection.hosts or selection.domains or selection.digests:
        yield first, None
        return
    total = int(frame.select(pl.len()).collect().item())
    start, rows = first, max(FIRST_WINDOW_ROWS, 2 * expected)
    while start < total:
        yield start, rows
        start, rows = start + rows, 2 * rows


def _select(frame: pl.LazyFrame, path: str, selection: Selection) -> pl.LazyFrame:
    names = frame.collect_schema().names()
    if "crawl" in names:
        frame = frame.filter(pl.col("crawl") == selection.snapshot)
    elif f"/crawl={selection.snapshot}/" not in path:
        raise ColumnMissing(f"{path}: neither a column crawl nor a folder crawl= says which snapshot it is of")
    if "subset" in names:
        frame = frame.filter(pl.col("subset") == SUBSET)
    return read_columns(frame, selection.needs(), ROW).filter(selection.wanted())
