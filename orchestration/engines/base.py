"""What an engine is: it runs one step over shards, every engine with the same bytes, and gives a record for each shard.

A job that a signal killed (out of memory, a lost machine) is tried again a bounded number of times; one that reports an
error is not, for the same input would fail the same way. A finished job whose files still verify is not run again.
What engines share stands here too: the folder that a worker finds its job in, and the environment that it sees.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from assets.steps.jobs import ERRORS, HEARTBEAT, JOB, ShardJob, ShardRecord, publish

__all__ = ["Engine", "OnProgress", "ShardFailed", "ShardJob", "ShardRecord"]

REPO = Path(__file__).resolve().parents[2]
FAILURES_BEFORE_STOP = 3  # a shard may be bad; when several are, the code is, and starting more would only cost time
SHARDS_PER_WORKER = 64  # then a fresh process takes over: what a library leaks stays bounded
THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")

OnProgress = Callable[[int, int, str], None]  # finished jobs, all jobs, the shard that just finished


class ShardFailed(RuntimeError):
    """A shard failed for good: `step`, `shard`, `cause` (one line); `others` counts the further shards that failed."""

    def __init__(self, step: str, shard: str, cause: str, others: int = 0) -> None:
        self.step, self.shard, self.cause, self.others = step, shard, cause, others
        more = f" (and {others} more)" if others else ""
        super().__init__(f"step {step}, shard {shard}{more}: {cause}")


class Engine(Protocol):
    """Runs shard jobs. `peak_worker_bytes` is the most resident memory of any one worker so far."""

    peak_worker_bytes: int

    def run(self, step: str, jobs: Sequence[ShardJob], on_progress: OnProgress | None = None) -> list[ShardRecord]:
        """Runs all jobs of one step and returns their records in the order of the jobs.

        Raises ShardFailed when a job failed for good; the records of finished jobs stay and are used on the next run.
        """
        ...


def prepare(job: ShardJob) -> Path:
    """Makes the job's folder ready for `python -m assets.steps.worker`; returns the path of its `job.json`."""
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / ERRORS).write_bytes(b"")
    publish(job.folder / JOB, job.to_json())  # a second run may be at the same job, its worker reading this very file
    (job.folder / HEARTBEAT).touch()
    return job.folder.absolute() / JOB


def worker_environment(storage_options: dict[str, str] | None, parent: int | None) -> dict[str, str]:
    """What a worker sees: this process's environment and what fixes its bytes and memory, one thread for each library.

    storage_options: of its jobs; they may hold secrets, and reach the worker in no other way. parent: the process
    without which it ends; None where something else ends it.
    """
    paths = [str(REPO), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    fixed = {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
        "STEMMA_STORAGE_OPTIONS": json.dumps(storage_options),
        # memory that a batch needed goes back to the system before the next one
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_TRIM_THRESHOLD_": str(4 << 20),
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }
    inherited = {name: value for name, value in os.environ.items() if name != "STEMMA_PARENT"}
    watched = {} if parent is None else {"STEMMA_PARENT": str(parent)}
    return {**inherited, **fixed, **dict.fromkeys(THREADS, "1"), **watched}


def last_line(path: Path) -> str:
    """The last line of a worker's log: the type and message of what ended it."""
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no message"
