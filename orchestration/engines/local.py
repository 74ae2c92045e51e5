"""The local engine: supervised worker processes, one shard each at a time, as many as there are workers.

Nothing hangs: a worker that dies is seen at once, one that gives no heartbeat for `stall_s` is killed and counts as
killed, and workers end by themselves when their parent is gone. A worker that finished a shard takes the next one.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from assets.steps.jobs import ERRORS, HEARTBEAT, ShardJob, ShardRecord, finished
from orchestration.engines.base import (
    FAILURES_BEFORE_STOP,
    SHARDS_PER_WORKER,
    OnProgress,
    ShardFailed,
    last_line,
    prepare,
    worker_environment,
)

LOOK_S = 1.0  # how often heartbeats are looked at
GRACE_S = 5.0


@dataclass
class _Worker:
    """A worker process and the job that it is at; `index` is None between jobs."""

    process: subprocess.Popen[bytes]
    index: int | None = None
    attempt: int = 0
    started: int = 0
    beat: tuple[int, float] = (0, 0.0)  # the heartbeat that was seen last, and when by the monotonic clock


class LocalEngine:
    """Runs jobs on this machine.

    Args: `workers` at once (default: the CPUs this process may use); `retries` after a worker was killed by a signal;
    `stall_s` seconds without a heartbeat after which a worker is killed; `python` to start workers with.
    """

    def __init__(
        self, workers: int | None = None, *, retries: int = 3, stall_s: float = 900.0, python: str = sys.executable
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self.workers = workers or len(os.sched_getaffinity(0))
        self.retries, self.stall_s, self.python = retries, stall_s, python
        self.peak_worker_bytes = 0  # the most resident memory of any one worker so far

    def run(self, step: str, jobs: Sequence[ShardJob], on_progress: OnProgress | None = None) -> list[ShardRecord]:
        """See orchestration.engines.base.Engine.run."""
        run = _Run(self, jobs, on_progress)
        try:
            run.to_the_end()
        finally:
            run.stop()
        if run.failures:
            first = min(run.failures)
            raise ShardFailed(step, jobs[first].shard, run.failures[first], len(run.failures) - 1)
        return [record for record in run.records if record is not None]


class _Run:
    """One call of LocalEngine.run."""

    def __init__(self, engine: LocalEngine, jobs: Sequence[ShardJob], on_progress: OnProgress | None) -> None:
        self.engine, self.jobs, self.on_progress = engine, jobs, on_progress
        self.records: list[ShardRecord | None] = [finished(job) for job in jobs]
        self.waiting = deque((index, 0) for index, record in enumerate(self.records) if record is None)
        self.workers: dict[int, _Worker] = {}  # by the file descriptor of their answers
        self.failures: dict[int, str] = {}
        self.selector = selectors.DefaultSelector()
        self._report("")

    def to_the_end(self) -> None:
        """Until every job is finished or failed; unstarted ones are left when too many failed."""
        while self._may_start() or any(worker.index is not None for worker in self.workers.values()):
            while self._may_start() and len(self.workers) < self.engine.workers:
                self._start_worker()
            for key, _ in self.selector.select(LOOK_S):
                worker = self.workers[key.fd]
                if os.read(key.fd, 1 << 16):
                    self._answered(worker)
                else:
                    self._ended(key.fd, worker)
            for worker in self.workers.values():
                if worker.index is not None and self._stalled(worker, self.jobs[worker.index]):
                    worker.process.kill()

    def stop(self) -> None:
        """Ends all workers: idle ones by closing their input, busy ones by asking and then killing."""
        for worker in self.workers.values():
            _close(worker.process.stdin)
            if worker.index is not None:
                worker.process.terminate()
        deadline = time.monotonic() + GRACE_S
        for worker in self.workers.values():
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            _close(worker.process.stdout)
        self.selector.close()

    def _may_start(self) -> bool:
        return bool(self.waiting) and len(self.failures) < FAILURES_BEFORE_STOP

    def _start_worker(self) -> None:
        try:
            process = subprocess.Popen(
                [self.engine.python, "-m", "assets.steps.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=worker_environment(self.jobs[0].storage_options, os.getpid()),
            )
        except OSError as error:
            index, _ = self.waiting.popleft()
            self.failures[index] = f"the worker could not be started: {error}"
            return
        assert process.stdout
        worker = _Worker(process)
        self.workers[process.stdout.fileno()] = worker
        self.selector.register(process.stdout.fileno(), selectors.EVENT_READ)
        self._next_job(worker)

    def _next_job(self, worker: _Worker) -> None:
        """Gives the worker a job, or the end of its input when there is none left for it."""
        assert worker.process.stdin
        worker.index = None
        if not self._may_start() or worker.started >= SHARDS_PER_WORKER:
            _close(worker.process.stdin)
            return
        worker.index, worker.attempt = self.waiting.popleft()
        worker.started += 1
        path = prepare(self.jobs[worker.index])
        try:
            worker.process.stdin.write(f"{path}\n".encode())
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # it is dead already: the end of its answers will be seen, and the job with it

    def _answered(self, worker: _Worker) -> None:
        """A worker said that its job is done."""
        assert worker.index is not None
        job = self.jobs[worker.index]
        record = finished(job)
        if record is None:
            self.failures[worker.index] = "the worker ended the job without a valid record"
        else:
            self.records[worker.index] = record
            self.engine.peak_worker_bytes = max(self.engine.peak_worker_bytes, record.peak_bytes)
            self._report(job.shard)
        self._next_job(worker)

    def _ended(self, fd: int, worker: _Worker) -> None:
        """A worker's answers ended: it is dead, or was let go."""
        self.selector.unregister(fd)
        del self.workers[fd]
        code = worker.process.wait()
        _close(worker.process.stdin)
        _close(worker.process.stdout)
        if worker.index is None:
            return
        job = self.jobs[worker.index]
        if code < 0:
            if worker.attempt < self.engine.retries:
                self.waiting.append((worker.index, worker.attempt + 1))
                return
            known = {s.value: s.name for s in signal.Signals}
            cause = f"the worker was killed by {known.get(-code, f'signal {-code}')} {worker.attempt + 1} times"
        else:
            log = job.folder / ERRORS
            cause = f"{last_line(log)} (exit code {code}; all of it: {log})"
        self.failures[worker.index] = cause

    def _stalled(self, worker: _Worker, job: ShardJob) -> bool:
        """Whether no new heartbeat came for so long; the files' clock and ours may differ and jump."""
        seen, now = (job.folder / HEARTBEAT).stat().st_mtime_ns, time.monotonic()
        if seen != worker.beat[0]:
            worker.beat = (seen, now)
        return now - worker.beat[1] > self.engine.stall_s

    def _report(self, shard: str) -> None:
        if self.on_progress:
            self.on_progress(sum(record is not None for record in self.records), len(self.jobs), shard)


def _close(stream: object) -> None:
    """Closes a pipe to or from a worker that may be dead."""
    try:
        if stream is not None:
            stream.close()  # type: ignore[attr-defined]
    except BrokenPipeError:
        pass
