"""The local engine: one supervised subprocess per shard, as many at once as there are workers.

Nothing hangs: a worker that dies is seen at once, one that makes no progress for `stall_s` is killed and counts as
killed, and workers end by themselves when their parent is gone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assets.steps.jobs import ERRORS, HEARTBEAT, JOB, ShardJob, ShardRecord, finished
from orchestration.engines.base import OnProgress, ShardFailed

REPO = Path(__file__).resolve().parents[2]
POLL_S = 0.02
GRACE_S = 5.0
FAILURES_BEFORE_STOP = 3  # a shard may be bad; when several are, the code is, and starting more would only cost time


@dataclass
class _Running:
    """A worker at work."""

    index: int
    attempt: int
    process: subprocess.Popen[bytes]


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

    def run(self, step: str, jobs: Sequence[ShardJob], on_progress: OnProgress | None = None) -> list[ShardRecord]:
        """See orchestration.engines.base.Engine.run."""
        records: list[ShardRecord | None] = [finished(job) for job in jobs]
        waiting = deque((index, 0) for index, record in enumerate(records) if record is None)
        running: list[_Running] = []
        failures: dict[int, str] = {}
        if on_progress:
            on_progress(len(jobs) - len(waiting), len(jobs), "")
        try:
            while running or (waiting and len(failures) < FAILURES_BEFORE_STOP):
                while waiting and len(running) < self.workers and len(failures) < FAILURES_BEFORE_STOP:
                    index, attempt = waiting.popleft()
                    try:
                        running.append(_Running(index, attempt, self._start(jobs[index])))
                    except OSError as error:
                        failures[index] = f"the worker could not be started: {error}"
                ended = [worker for worker in running if worker.process.poll() is not None]
                running = [worker for worker in running if worker.process.poll() is None]
                for worker in ended:
                    record, cause = self._outcome(jobs[worker.index], worker)
                    if record is not None:
                        records[worker.index] = record
                        if on_progress:
                            on_progress(sum(r is not None for r in records), len(jobs), jobs[worker.index].shard)
                    elif cause is None:
                        waiting.append((worker.index, worker.attempt + 1))
                    else:
                        failures[worker.index] = cause
                for worker in running:
                    if self._stalled(jobs[worker.index]):
                        worker.process.kill()
                if running and not ended:
                    time.sleep(POLL_S)
        finally:
            _stop(running)
        if failures:
            first = min(failures)
            raise ShardFailed(step, jobs[first].shard, failures[first], len(failures) - 1)
        return [record for record in records if record is not None]

    def _start(self, job: ShardJob) -> subprocess.Popen[bytes]:
        folder = job.folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / JOB).write_text(json.dumps(job.to_json(), sort_keys=True, indent=1))
        (folder / HEARTBEAT).touch()
        with open(folder / ERRORS, "wb") as errors:
            return subprocess.Popen(
                [self.python, "-m", "assets.steps.worker", str(folder / JOB)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env=self._environment(job),
            )

    def _environment(self, job: ShardJob) -> dict[str, str]:
        """One thread a worker: the engine's width is the number of workers."""
        paths = [str(REPO), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        fixed = {
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONHASHSEED": "0",
            "STEMMA_PARENT": str(os.getpid()),
            "STEMMA_STORAGE_OPTIONS": json.dumps(job.storage_options),
            "MALLOC_ARENA_MAX": "2",
        }
        threads = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
        return {**os.environ, **fixed, **dict.fromkeys(threads, "1")}

    def _outcome(self, job: ShardJob, worker: _Running) -> tuple[ShardRecord | None, str | None]:
        """(record, None) when done, (None, None) to try again, (None, cause) when it failed for good."""
        code = worker.process.returncode
        if code == 0:
            record = finished(job)
            return (record, None) if record else (None, "the worker ended without a valid record")
        if code < 0:
            name = signal.Signals(-code).name if -code in {s.value for s in signal.Signals} else f"signal {-code}"
            if worker.attempt < self.retries:
                return None, None
            return None, f"the worker was killed by {name} {worker.attempt + 1} times"
        return None, f"{_last_line(job.folder / ERRORS)} (exit code {code}; all of it: {job.folder / ERRORS})"

    def _stalled(self, job: ShardJob) -> bool:
        return time.time() - (job.folder / HEARTBEAT).stat().st_mtime > self.stall_s


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no message"


def _stop(running: list[_Running]) -> None:
    """Ends workers that are still at work: asked first, then killed."""
    for worker in running:
        worker.process.terminate()
    deadline = time.monotonic() + GRACE_S
    for worker in running:
        try:
            worker.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
