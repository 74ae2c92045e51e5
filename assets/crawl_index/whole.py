"""Whole WARC or WET files of a snapshot, by its published list of paths: for CC-NEWS, which has no index, or for all.

A file goes on from its last good byte after any interruption; when it is there every member of it is inflated, what
is damaged is fetched again from there on, and only then the file appears. Snapshots are CC-MAIN-2024-22, and of the
news crawl a month (CC-NEWS-2024-05) or a day (CC-NEWS-2024-05-17).
"""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from assets.crawl_index.columns import MAX_FILE_BYTES, SAFE_NAME
from assets.crawl_index.fetch import FetchIncomplete
from assets.crawl_index.files import MAX_PATHS_BYTES, IndexMissing, IndexUnreadable
from assets.crawl_index.journal import StateUnwritable, only_one
from assets.crawl_index.moving import Limits, Pace
from assets.crawl_index.plan import write_table
from assets.crawl_index.sources import Missing, OutsideFile, Source, Transient, open_source
from assets.parts import file_sha256, sync
from assets.steps.members import members

KINDS = ("warc", "wet", "robotstxt")
NEWS = re.compile(r"CC-NEWS-(\d{4})-(\d\d)(?:-(\d\d))?")
DAY_OF_NEWS = re.compile(r"/CC-NEWS-(\d{4})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])\d*-[^/]*$")
FILES = {
    "warc_path": pl.String,  # below the folder of the fetch; null: the source does not have the file
    "source": pl.String,
    "source_filename": pl.String,
    "bytes": pl.Int64,
    "sha256": pl.String,
    "damaged_at": pl.Int64,  # offset of the first member that is damaged at the source too; null: none
}


@dataclass
class Fetched:
    """What a run made: rows of FILES, names that the source does not have, requests and bytes."""

    files: list[tuple] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # noted too, and not asked for again
    requests: int = 0
    bytes: int = 0


def paths_list(snapshot: str, kind: str) -> str:
    """Where the source publishes the paths of a snapshot's files."""
    if news := NEWS.fullmatch(snapshot):
        return f"crawl-data/CC-NEWS/{news[1]}/{news[2]}/{kind}.paths.gz"
    return f"crawl-data/{snapshot}/{kind}.paths.gz"


def listed_files(
    root: str,
    snapshot: str,
    kind: str = "warc",
    *,
    storage_options: dict[str, str] | None = None,
    limits: Limits | None = None,
) -> list[str]:
    """The files of a snapshot (of the news crawl: a month or a day) by the published list, in its order.

    Raises IndexMissing, IndexUnreadable, SourceRefused.
    """
    limits = limits or Limits()

    async def ask() -> list[str]:
        async with open_source(root, storage_options, limits.timeout_s, 1) as source:
            return await _listed(_Files(source, limits), root, snapshot, kind)

    return asyncio.run(ask())


def sized_files(
    root: str,
    snapshot: str,
    kind: str = "warc",
    *,
    there: set[str],
    most: int,
    storage_options: dict[str, str] | None = None,
    limits: Limits | None = None,
) -> list[tuple[str, int]]:
    """(name, bytes) of the next `most` files of a snapshot that are not `there` (names without folder).

    A file that the source does not have has 0 bytes. Raises as `listed_files`, and FetchIncomplete.
    """
    limits = limits or Limits()

    async def ask() -> list[tuple[str, int]]:
        async with open_source(root, storage_options, limits.timeout_s, 1) as source:
            mover = _Files(source, limits)
            listed = await _listed(mover, root, snapshot, kind)
            fresh = [name for name in listed if Path(name).name not in there][:most]
            return [(name, await mover.size(name)) for name in fresh]

    return asyncio.run(ask())


async def _listed(mover: _Files, root: str, snapshot: str, kind: str) -> list[str]:
    listed = await mover.listed(paths_list(snapshot, kind))
    news = NEWS.fullmatch(snapshot)
    if news and news[3]:
        listed = [name for name in listed if f"/CC-NEWS-{''.join(news.groups())}" in name]
    if not listed:
        raise IndexMissing(f"{root} lists no {kind} file of {snapshot}")
    return listed


def fetch_files(
    root: str,
    snapshot: str,
    out: Path | None,
    *,
    kind: str = "warc",
    most: int = 1,
    storage_options: dict[str, str] | None = None,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[tuple[str, int]], Fetched]:
    """(name, bytes) of the next files of a snapshot, at most `most` that `out` does not hold yet, and what was fetched
    of them: nothing without `out`. progress: called with (files there, files).

    Raises IndexMissing, IndexUnreadable, SourceRefused, AlreadyFetching, StateUnwritable, FetchIncomplete.
    """
    limits = limits or Limits()
    work = _fetch_files(root, snapshot, out, kind, most, storage_options, limits, progress)
    if out is None:
        return asyncio.run(work)
    with only_one(out / ".fetch" / f"{snapshot}.{kind}"):
        return asyncio.run(work)


async def _fetch_files(root, snapshot, out, kind, most, storage_options, limits: Limits, progress):
    async with open_source(root, storage_options, limits.timeout_s, limits.concurrency) as source:
        mover = _Files(source, limits)
        listed = await _listed(mover, root, snapshot, kind)
        there = settled_files(out, snapshot) if out else set()
        fresh = [name for name in listed if Path(name).name not in there][:most]
        sized = [(name, await mover.size(name)) for name in fresh]
        if out is not None:
            state = out / ".fetch" / f"{snapshot}.{kind}"
            try:
                await mover.fetch_all([name for name, _ in sized], out / snapshot, state, root, progress)
            except OSError as error:
                if isinstance(error, LookupError | PermissionError):
                    raise
                raise StateUnwritable(f"{out}: {error.strerror}") from error
            finally:
                gone = [(None, root, name, None, None, None) for name in mover.made.missing]
                _note(out, snapshot, [*mover.made.files, *gone])
            if mover.failures:
                raise FetchIncomplete(
                    f"{len(mover.failures)} files did not come whole ({mover.failures[0]}); run again"
                )
    return sized, mover.made


def files_note(out: Path, snapshot: str) -> Path:
    """The list of where a snapshot's files came from: columns FILES."""
    return out / "fetches" / f"{snapshot}.files.parquet"


def settled_files(out: Path, snapshot: str) -> set[str]:
    """Names without folder of the files that are in a crawl root, or that the source was found not to have."""
    there = {path.name for path in (out / snapshot).glob("*")}
    note = files_note(out, snapshot)
    noted = pl.read_parquet(note, columns=["source_filename"])["source_filename"] if note.is_file() else []
    return there | {Path(name).name for name in noted}


def _note(out: Path, snapshot: str, files: list[tuple]) -> None:
    """Adds files to the snapshot's list."""
    path = files_note(out, snapshot)
    known = [pl.read_parquet(path)] if path.is_file() else []
    rows = pl.concat([*known, pl.DataFrame(files, schema=FILES, orient="row")])
    if rows.height:
        write_table(rows.unique("source_filename", keep="last").sort("source_filename").to_arrow(), path)


class _Files:
    """Fetches whole files from a source, several at once."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self.source, self.limits = source, limits
        self.pace = Pace(limits.concurrency)
        self.made = Fetched()
        self.failures: list[str] = []

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(Transient),
            stop=stop_after_attempt(self.limits.attempts),
            wait=wait_random_exponential(multiplier=self.limits.wait_s, max=self.limits.max_wait_s),
            reraise=True,
        )

    async def _bytes(self, name: str, most: int) -> tuple[bytes, int]:
        """The first bytes of a file, at most `most`, and its size."""
        async for attempt in self._retrying():
            with attempt:
                content = bytearray()
                async with self.pace:
                    self.made.requests += 1
                    async with self.source.open(name, 0, most) as span:
                        async for chunk in span.chunks:
                            content += chunk
                    self.made.bytes += len(content)
                    if len(content) != span.length:
                        raise Transient("short_body", f"{name}: {len(content)} of {span.length} bytes")
                return bytes(content), span.file_bytes or 0
        raise AssertionError("tenacity raises or returns")

    async def listed(self, name: str) -> list[str]:
        """The paths that a published list names."""
        try:
            content, _ = await self._bytes(name, MAX_PATHS_BYTES)
            lines = gzip.decompress(content).decode("ascii").split()
        except (Missing, OutsideFile) as error:
            raise IndexMissing(f"there is no list {name}: {error}") from error
        except (Transient, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise IndexUnreadable(f"{name}: {error}") from error
        wrong = next((line for line in lines if not re.match(SAFE_NAME, line)), None)
        if wrong:
            raise IndexUnreadable(f"{name} lists {wrong[:100]!r}, which is no path")
        return lines

    async def size(self, name: str) -> int:
        """Bytes of a file; 0 where it is missing."""
        try:
            return (await self._bytes(name, 1))[1]
        except (Missing, OutsideFile):
            return 0
        except Transient as error:
            raise FetchIncomplete(f"the source does not answer ({error}); run the same command again") from error

    async def fetch_all(self, names: list[str], folder: Path, state: Path, root: str, progress) -> None:
        """Brings every file to `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        waiting, done = iter(names), 0

        async def work() -> None:
            nonlocal done
            for name in waiting:
                await self._file(name, folder, state, root)
                done += 1
                progress(done, len(names))

        tasks = [asyncio.create_task(work()) for _ in range(min(len(names), self.limits.concurrency))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _file(self, name: str, folder: Path, state: Path, root: str) -> None:
        part, final, seen = state / f"{Path(name).name}.part", folder / Path(name).name, set()
        part.touch()
        while True:
            try:
                await self._to_the_end(name, part)
            except (Missing, OutsideFile) as error:
                if isinstance(error, OutsideFile) and part.stat().st_size:
                    os.truncate(part, 0)  # the file became shorter than what we have of it: another file
                    continue
                part.unlink()
                self.made.missing.append(name)
                return
            except Transient as error:
                self.failures.append(str(error))
                return
            damage = await asyncio.to_thread(first_damage, part)
            if damage is None or damage in seen:
                break
            seen.add(damage)
            if len(seen) >= self.limits.damaged:
                break
            os.truncate(part, damage[0])
        sync(part)
        row = (f"{folder.name}/{final.name}", root, name, part.stat().st_size, file_sha256(part))
        os.replace(part, final)
        sync(folder)
        self.made.files.append((*row, damage[0] if damage else None))

    async def _to_the_end(self, name: str, part: Path) -> None:
        """Appends what is missing of a file; attempts are counted anew whenever bytes came."""
        while True:
            before = part.stat().st_size
            try:
                async for attempt in self._retrying():
                    with attempt:
                        try:
                            return await self._append(name, part)
                        except Transient:
                            if part.stat().st_size == before:
                                raise
            except OutsideFile:
                if before and await self.size(name) == before:
                    return
                raise

    async def _append(self, name: str, part: Path) -> None:
        got, start = 0, part.stat().st_size
        async with self.pace:
            self.made.requests += 1
            with open(part, "ab", buffering=0) as file:
                async with self.source.open(name, start, MAX_FILE_BYTES) as span:
                    async for chunk in span.chunks:
                        file.write(chunk)
                        got += len(chunk)
                        self.made.bytes += len(chunk)
            if got < span.length:
                raise Transient("short_body", f"{name}: {got} of {span.length} bytes from {start}")


def first_damage(path: Path) -> tuple[int, int] | None:
    """(offset, crc32 of the bytes) of the first member that cannot be inflated whole; None for a sound file."""
    with open(path, "rb") as file:
        for member in members(file, path.stat().st_size):
            if member.damage:
                file.seek(member.offset)
                return member.offset, zlib.crc32(file.read(member.length))
    return None
