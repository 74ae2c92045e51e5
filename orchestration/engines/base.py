"""What an engine is: it runs one step over shards, every engine with the same bytes, and gives a record for each shard.

A job that a signal killed (out of memory, a lost machine) is tried again a bounded number of times; one that reports an
error is not, for the same input would fail the same way. A finished job whose files still verify is not run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from assets.steps.jobs import ShardJob, ShardRecord

__all__ = ["Engine", "OnProgress", "ShardFailed", "ShardJob", "ShardRecord"]

OnProgress = Callable[[int, int, str], None]  # finished jobs, all jobs, the shard that just finished


class ShardFailed(RuntimeError):
    """A shard failed for good: `step`, `shard`, `cause` (one line); `others` counts the further shards that failed."""

    def __init__(self, step: str, shard: str, cause: str, others: int = 0) -> None:
        self.step, self.shard, self.cause, self.others = step, shard, cause, others
        more = f" (and {others} more)" if others else ""
        super().__init__(f"step {step}, shard {shard}{more}: {cause}")


class Engine(Protocol):
    """Runs shard jobs."""

    def run(self, step: str, jobs: Sequence[ShardJob], on_progress: OnProgress | None = None) -> list[ShardRecord]:
        """Runs all jobs of one step and returns their records in the order of the jobs.

        Raises ShardFailed when a job failed for good; the records of finished jobs stay and are used on the next run.
        """
        ...
