"""Moves records: requests in flight at once, retries, going on inside a file, judging and settling what comes."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from assets.crawl_index.journal import Journal
from assets.crawl_index.sources import Missing, OutsideFile, Source, Transient
from assets.crawl_index.spending import Spending
from assets.crawl_index.verify import Fit, judge

FAILURES = 10  # requests that failed for good, after which nothing more is tried in this run


@dataclass(frozen=True)
class Limits:
    """How a source is treated. concurrency: requests at once, to its one host or bucket; it is halved whenever the
    source asks to slow down, and grows again. attempts: of one request without a record coming. wait_s, max_wait_s:
    bounds of the random, doubling pause between them. timeout_s: without a byte. damaged: fetches of a record whose
    bytes are wrong, unless the same wrong bytes come twice."""

    concurrency: int = 8
    attempts: int = 8
    wait_s: float = 0.5
    max_wait_s: float = 60.0
    timeout_s: float = 30.0
    damaged: int = 4


@dataclass(frozen=True)
class Wanted:
    """A record to fetch: its number in the plan, its place in the WARC file (bytes, end exclusive), what it must be."""

    number: int
    start: int
    end: int
    url: str
    content_digest: str | None


@dataclass(frozen=True)
class Run:
    """Neighbouring records of one file that one request moves."""

    name: str
    records: tuple[Wanted, ...]


class Cutter:
    """Cuts records out of a stream; `position` is the next byte that is needed, whatever broke before."""

    def __init__(self, run: Run) -> None:
        self.run, self.next, self.buffer = run, 0, bytearray()
        self.position, self.end = run.records[0].start, run.records[-1].end

    @property
    def left(self) -> tuple[Wanted, ...]:
        return self.run.records[self.next :]

    def feed(self, chunk: bytes) -> Iterator[tuple[Wanted, bytes]]:
        """Records that the chunk completes, with their bytes."""
        view = memoryview(chunk)
        while view and self.left:
            record = self.left[0]
            skipped = min(len(view), max(0, record.start - self.position))
            taken = min(len(view) - skipped, record.end - self.position - skipped)
            self.buffer += view[skipped : skipped + taken]
            self.position += skipped + taken
            view = view[skipped + taken :]
            if self.position == record.end:
                content = bytes(self.buffer)
                self.buffer.clear()
                self.next += 1
                yield record, content

    def go_on(self) -> int:
        """Where to begin after a break: behind the last good byte, and never in a gap."""
        if self.left and not self.buffer:
            self.position = max(self.position, self.left[0].start)
        return self.position


class Pace:
    """How many requests may run: at most `most`, half as many after each call to slow down, one more after every 16
    requests that went well."""

    def __init__(self, most: int) -> None:
        self.most = self.now = most
        self.running = self.well = 0
        self.changed = asyncio.Condition()

    async def __aenter__(self) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.running < self.now)
            self.running += 1

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        async with self.changed:
            self.running -= 1
            if isinstance(error, Transient) and error.kind == "slow_down":
                self.now, self.well = max(1, self.now // 2), 0
            elif error is None:
                self.well += 1
                if self.well % 16 == 0:
                    self.now = min(self.most, self.now + 1)
            self.changed.notify_all()


class Mover:
    """Carries out runs against a source, within a budget, and settles every record in the output's journal."""

    def __init__(self, source: Source, limits: Limits, spending: Spending, on_record: Callable[[], None]) -> None:
        self.source, self.limits, self.spending, self.on_record = source, limits, spending, on_record
        self.pace = Pace(limits.concurrency)
        self.failures: list[str] = []
        self.requests = self.bytes = 0

    async def move(self, runs: Iterable[Run], journal: Journal) -> None:
        """All runs, `concurrency` at a time. A run that fails for good is noted in `failures`; an error that is not
        the source's ends all."""
        waiting = iter(runs)

        async def work() -> None:
            for run in waiting:
                if len(self.failures) >= FAILURES:
                    return
                await self._run(run, journal)

        tasks = [asyncio.create_task(work()) for _ in range(self.limits.concurrency)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, run: Run, journal: Journal) -> None:
        damaged: list[tuple[Wanted, bytes, str, str]] = []
        cutter = Cutter(run)
        if not await self._stream_all(cutter, journal, damaged):
            return
        for record, content, reason, detail in damaged:
            await self._again(run.name, record, content, reason, detail, journal)

    async def _again(self, name: str, record: Wanted, content: bytes, reason: str, detail: str, journal: Journal):
        """Fetches a record with wrong bytes alone, until it is right, comes twice alike, or the attempts are used."""
        seen = {zlib.crc32(content)}
        for _ in range(self.limits.damaged - 1):
            damaged: list[tuple[Wanted, bytes, str, str]] = []
            if not await self._stream_all(Cutter(Run(name, (record,))), journal, damaged) or not damaged:
                return
            _, content, reason, detail = damaged[0]
            if zlib.crc32(content) in seen:
                break
            seen.add(zlib.crc32(content))
        journal.reject(record.number, reason, detail)
        self.on_record()

    async def _stream_all(self, cutter: Cutter, journal: Journal, damaged: list) -> bool:
        """Streams until every record was cut out or rejected; False when the source keeps failing."""
        while cutter.left:
            before = cutter.next
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(Transient),
                stop=stop_after_attempt(self.limits.attempts),
                wait=wait_random_exponential(multiplier=self.limits.wait_s, max=self.limits.max_wait_s),
                reraise=True,
            )
            try:
                async for attempt in retrying:
                    with attempt:
                        try:
                            await self._attempt(cutter, journal, damaged)
                        except Transient:
                            if cutter.next == before:  # records came: begin counting anew
                                raise
            except Transient as error:
                self.failures.append(str(error))
                return False
            except (Missing, OutsideFile) as error:
                reason = "missing_file" if isinstance(error, Missing) else "outside_file"
                for record in cutter.left:
                    journal.reject(record.number, reason, str(error))
                    self.on_record()
                return True
        return True

    async def _attempt(self, cutter: Cutter, journal: Journal, damaged: list) -> None:
        start, got = cutter.go_on(), 0
        async with self.pace:
            self.spending.begin(cutter.end - start)
            self.requests += 1
            try:
                async with self.source.open(cutter.run.name, start, cutter.end) as span:
                    async for chunk in span.chunks:
                        chunk = chunk[: span.length - got]
                        got += len(chunk)
                        self.bytes += len(chunk)
                        for record, content in cutter.feed(chunk):
                            self._settle(record, content, journal, damaged)
            finally:
                self.spending.end(cutter.end - start - got)
            if got < span.length:
                raise Transient("short_body", f"{cutter.run.name}: {got} of {span.length} bytes from {start}")
        if cutter.left:
            raise OutsideFile(f"{cutter.run.name} ends at {start + span.length}")

    def _settle(self, record: Wanted, content: bytes, journal: Journal, damaged: list) -> None:
        verdict = judge(content, record.url, record.content_digest)
        if isinstance(verdict, Fit):
            journal.hold(record.number, content, verdict.by)
        elif verdict.is_damage:
            damaged.append((record, content, verdict.reason, verdict.detail))
            return
        else:
            journal.reject(record.number, verdict.reason, verdict.detail)
        self.on_record()
