"""The Ray engine: one `ray.remote` task a shard on a cluster that is there; the same records and bytes as local.

Nothing hangs: a task whose worker or node died is tried again, one that gives no sign of life for `stall_s` is
cancelled by force and tried again, and both a bounded number of times. Tasks end with the driver. What the cluster must
share is the crawl and the tables (a folder or s3://); the home may be on this machine alone.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from assets.parts import PartFile, filesystem
from assets.steps.jobs import ERRORS, ShardJob, ShardRecord, finished
from orchestration.engines.base import FAILURES_BEFORE_STOP, REPO, OnProgress, ShardFailed, prepare

LOOK_S = 1.0  # how often silent tasks are looked for
CONNECT_S = 120.0
GRACE_S = 15.0
CANCEL_S = 30.0  # that cancelling may take
MOST_BEAT_S = 5.0
QUEUED_PER_SLOT = 2  # so that a node never waits for the driver


class ClusterUnreachable(RuntimeError):
    """There is no Ray cluster at the address, or it does not let us in."""


class ClusterLost(RuntimeError):
    """The connection to the cluster ended in the middle of a run, or no node has room for a shard."""


class RayEngine:
    """Runs jobs on a Ray cluster.

    Args: `workers`, the most shards at once (default: as many as the cluster has room for); `address` of the cluster
    (default: the one of this machine); `cpus` and `memory_bytes` that a shard asks for; `retries` after a worker or
    node died; `stall_s` seconds without a sign of life after which a task is cancelled.
    Raises ClusterUnreachable for an address that cannot be one.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str | None = None,
        cpus: float = 1.0,
        memory_bytes: int | None = None,
        retries: int = 3,
        stall_s: float = 900.0,
    ) -> None:
        self.address = address or os.environ.get("RAY_ADDRESS") or "auto"
        if self.address == "local" or "://" in self.address:
            said = f"{self.address!r} is no address of a cluster to join"
            raise ClusterUnreachable(f"{said}: give host:port, and run Stemma on one of the cluster's nodes")
        self.workers, self.cpus, self.memory_bytes = workers, cpus, memory_bytes
        self.retries, self.stall_s = retries, stall_s
        self.peak_worker_bytes = 0  # the most resident memory of any one worker so far

    def run(self, step: str, jobs: Sequence[ShardJob], on_progress: OnProgress | None = None) -> list[ShardRecord]:
        """See orchestration.engines.base.Engine.run. Raises ClusterUnreachable, ClusterLost too."""
        run = _Run(self, jobs, on_progress)
        if run.waiting:
            run.to_the_end()
        if run.failures:
            first = min(run.failures)
            raise ShardFailed(step, jobs[first].shard, run.failures[first], len(run.failures) - 1)
        return [record for record in run.records if record is not None]


@dataclass
class _Attempt:
    """One task: its job, which attempt at it this is (from 0), and what was heard of it."""

    index: int
    attempt: int
    heard: float | None = None  # when it last gave a sign of life; None before it has started
    node: str = "no node"
    cancelled: bool = False


class _Run:
    """One call of RayEngine.run."""

    def __init__(self, engine: RayEngine, jobs: Sequence[ShardJob], on_progress: OnProgress | None) -> None:
        self.engine, self.jobs, self.on_progress = engine, jobs, on_progress
        self.records: list[ShardRecord | None] = [finished(job) for job in jobs]
        self.waiting = deque((index, 0) for index, record in enumerate(self.records) if record is None)
        self.numbers = itertools.count()
        self.going: dict[int, _Attempt] = {}  # by the number that the driver knows them by
        self.failures: dict[int, str] = {}
        self.slots, self.roomy = 0, time.monotonic()
        self._report("")

    def to_the_end(self) -> None:
        """Until every job is finished or failed; unstarted ones are left when too many failed."""
        driver = _Driver(self.engine, self.jobs[0].storage_options)
        try:
            self.slots = driver.connect()
            while self._may_start() or self.going:
                while self._may_start() and len(self.going) < self._room():
                    self._submit(driver)
                for event in driver.events():
                    self._heard_of(event)
                self._cancel_the_silent(driver)
                self._look_for_room()
        finally:
            driver.stop()

    def _may_start(self) -> bool:
        return bool(self.waiting) and len(self.failures) < FAILURES_BEFORE_STOP

    def _room(self) -> int:
        most = max(1, QUEUED_PER_SLOT * self.slots)
        return min(most, self.engine.workers) if self.engine.workers else most

    def _submit(self, driver: _Driver) -> None:
        one, number = _Attempt(*self.waiting.popleft()), next(self.numbers)
        self.going[number] = one
        prepare(self.jobs[one.index])
        driver.ask({"submit": number, "job": _placed(self.jobs[one.index])})

    def _heard_of(self, event: dict[str, Any]) -> None:
        if "slots" in event:
            self.slots = event["slots"]
            return
        one, what = self.going.get(event["number"]), event["event"]
        if one is None:
            return  # given up long ago: what it still writes is named by content, and does no harm
        one.heard = time.monotonic()
        if what == "started":
            one.node = event["node"]
        if what in ("started", "beat"):
            return
        del self.going[event["number"]]
        if what == "done":
            self._done(one, event["record"])
        elif what in ("killed", "lost"):
            self._ended(one, event["cause"])
        else:
            log = self.jobs[one.index].folder / ERRORS
            log.write_text(event.get("log", ""))
            self.failures[one.index] = event["cause"] + (f"; all of it: {log}" if event.get("log") else "")

    def _ended(self, one: _Attempt, cause: str) -> None:
        """A task ended through no fault of its shard, as far as one can tell: it is tried again."""
        if one.cancelled:
            cause = f"gave no sign of life for {self.engine.stall_s:g} s"
        if one.attempt < self.engine.retries:
            self.waiting.append((one.index, one.attempt + 1))
        else:
            self.failures[one.index] = f"the task {cause}, {one.attempt + 1} times, last on {one.node}"

    def _done(self, one: _Attempt, value: dict[str, Any]) -> None:
        job = self.jobs[one.index]
        parts = {table: [PartFile.from_json(part) for part in listed] for table, listed in value["parts"].items()}
        record = ShardRecord(**{**value, "parts": parts})
        if record.digest != job.digest or not _arrived(job, record):
            said = f"the part files that {one.node} wrote are not to be seen here"
            advice = "put the tables where all nodes see them: on a shared file system, or STEMMA_LAKE on s3://"
            self.failures[one.index] = f"{said}: {advice}"
            return
        record.write(job.folder)
        self.records[one.index] = record
        self.engine.peak_worker_bytes = max(self.engine.peak_worker_bytes, record.peak_bytes)
        self._report(job.shard)

    def _cancel_the_silent(self, driver: _Driver) -> None:
        """By force; and a task whose node does not even do that is given up after as long again."""
        for number, one in list(self.going.items()):
            silence = 0.0 if one.heard is None else time.monotonic() - one.heard
            if silence > self.engine.stall_s and not one.cancelled:
                one.cancelled = True
                driver.ask({"cancel": number})
            if silence > 2 * self.engine.stall_s + CANCEL_S:
                del self.going[number]
                self._ended(one, "")

    def _look_for_room(self) -> None:
        """Raises ClusterLost when no node can take a shard for so long that none will come."""
        if self.slots or any(one.heard for one in self.going.values()):
            self.roomy = time.monotonic()
        elif time.monotonic() - self.roomy > self.engine.stall_s:
            memory = f" and {self.engine.memory_bytes:,} B of memory" if self.engine.memory_bytes else ""
            asked = f"{self.engine.cpus:g} CPUs{memory}"
            raise ClusterLost(f"no node of the cluster has room for a shard, which asks for {asked}: ask for less")

    def _report(self, shard: str) -> None:
        if self.on_progress:
            self.on_progress(sum(record is not None for record in self.records), len(self.jobs), shard)


class _Driver:
    """The process that speaks with the cluster (ray_driver.py), in a session of its own so that Ctrl-C is ours."""

    def __init__(self, engine: RayEngine, storage_options: dict[str, str] | None) -> None:
        self.address = engine.address
        paths = [str(REPO), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        # Ray makes this process's folder a place to import from on every node: it must be one that holds nothing
        self.folder = tempfile.TemporaryDirectory(prefix="stemma-")
        self.log = Path(self.folder.name, "log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestration.engines.ray_driver"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "RAY_USAGE_STATS_ENABLED": "0"},
                cwd=self.folder.name,
                start_new_session=True,
            )
        self.answers: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        threading.Thread(target=self._read, name="ray", daemon=True).start()
        settings = {"address": engine.address, "cpus": engine.cpus, "memory_bytes": engine.memory_bytes}
        beat_s = min(MOST_BEAT_S, engine.stall_s / 4)
        self.ask({**settings, "storage_options": storage_options, "beat_s": beat_s})

    def connect(self) -> int:
        """How many shards the cluster has room for. Raises ClusterUnreachable."""
        try:
            first: dict[str, Any] | None = self.answers.get(timeout=CONNECT_S)
        except Empty:
            first = {"unreachable": f"no answer for {CONNECT_S:g} s"}
        if first is None or "slots" not in first:
            cause = self._last_words() if first is None else first["unreachable"]
            raise ClusterUnreachable(
                f"no Ray cluster at {self.address} lets us in: start one with `ray start --head`, or set"
                f" STEMMA_RAY_ADDRESS to host:port and RAY_AUTH_TOKEN where it asks for one ({cause})"
            )
        return first["slots"]

    def ask(self, request: dict[str, Any]) -> None:
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it is dead: the end of its answers will be seen

    def events(self) -> list[dict[str, Any]]:
        """What was heard since, after waiting for something for a while. Raises ClusterLost when it is dead."""
        found = []
        try:
            found.append(self.answers.get(timeout=LOOK_S))
            while True:
                found.append(self.answers.get_nowait())
        except Empty:
            pass
        if None in found:
            again = "start again when it is back, finished shards are kept"
            raise ClusterLost(f"the connection to the Ray cluster ended: {again} ({self._last_words()})")
        return found

    def stop(self) -> None:
        """Ends it, and with it all tasks: by asking, then by killing it."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as answers:
            for line in answers:
                self.answers.put(json.loads(line))
        self.answers.put(None)

    def _last_words(self) -> str:
        """What Ray said last before its process ended."""
        lines = self.log.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:300] if lines else "no message"


def _placed(job: ShardJob) -> dict[str, Any]:
    """The job as nodes read it: with paths that do not depend on where this process runs."""
    value = job.to_json()
    warc = job.places.get("warc")
    if warc and "://" not in warc:
        value["places"] = {**job.places, "warc": os.path.abspath(warc)}
    return value


def _arrived(job: ShardJob, record: ShardRecord) -> bool:
    """Whether the part files are to be seen from here. Their bytes were verified on the node that wrote them."""
    for table, listed in record.parts.items():
        fs, base = filesystem(job.places["outputs"].get(table, ""), job.storage_options)
        for part in listed:
            try:
                if fs.info(f"{base}/{part.path}", refresh=True)["size"] != part.bytes:
                    return False
            except FileNotFoundError:
                return False
    return True
