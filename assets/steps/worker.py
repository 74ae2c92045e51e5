"""The worker: `python -m assets.steps.worker job.json` does one shard job and writes its record last.

Each step is `run(job, beat) -> (parts by table, counts)` in a module of its own, imported only when asked for. An error
goes to stderr as one line of type and message after its traceback, with exit code 1.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

from assets.steps.jobs import HEARTBEAT, ShardJob, ShardRecord

STEPS = {
    "documents": "assets.steps.shard",
    "annotations": "assets.steps.annotate",
    "signatures": "assets.steps.signatures",
    "corpus": "assets.steps.corpus",
}
PARENT_CHECK_S = 0.5
ORPHANED = 143


class UnknownStep(ValueError):
    """No step of that name."""


def do(job: ShardJob, folder: Path) -> ShardRecord:
    """Does the job in this process and writes its record into `folder`. Raises UnknownStep and what the step raises."""
    if job.step not in STEPS:
        raise UnknownStep(f"unknown step {job.step}: the steps are {', '.join(STEPS)}")
    heartbeat = folder / HEARTBEAT
    parts, counts = import_module(STEPS[job.step]).run(job, heartbeat.touch)
    record = ShardRecord(job.digest, job.step, job.shard, parts, counts)
    record.write(folder)
    return record


def end_with_parent(parent: int) -> None:
    """Ends this process soon after its parent has ended: an orphan must not go on beside the next run."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_S)
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def main(arguments: list[str]) -> int:
    """Entry point; see the module's first line."""
    if len(arguments) != 1:
        print("usage: python -m assets.steps.worker job.json", file=sys.stderr)
        return 2
    if parent := os.environ.get("STEMMA_PARENT"):
        end_with_parent(int(parent))
    path = Path(arguments[0])
    job = ShardJob.load(path, json.loads(os.environ.get("STEMMA_STORAGE_OPTIONS", "null")))
    do(job, path.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
