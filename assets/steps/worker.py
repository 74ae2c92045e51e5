"""The worker: `python -m assets.steps.worker job.json …` does shard jobs one by one; each writes its record last.

Without arguments it reads paths of jobs from standard input, a line each, and answers each with a line when it is done:
so an engine spares the two seconds that a process needs to load its tokenizer. Each step is `run(job, beat) -> (parts
by table, counts)` in a module of its own, imported when first asked for. What a job says goes to `stderr.log` in its
folder; an error ends the worker with exit code 1, the last line being its type and message. A job that is finished
already is answered and not done again. A worker outlives neither its parent (STEMMA_PARENT) nor its run's lease, a file
that the run touches (STEMMA_LEASE; on another machine there is no parent to see).
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import threading
import time
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path

from assets.steps.jobs import ERRORS, HEARTBEAT, ShardJob, ShardRecord, finished

STEPS = {
    "documents": "assets.steps.shard",
    "annotations": "assets.steps.annotate",
    "contamination": "assets.steps.contamination",
    "page_quality": "assets.steps.page_quality",
    "signatures": "assets.steps.signatures",
    "corpus": "assets.steps.corpus",
    "scrubbed": "assets.steps.scrubbed",
}
PARENT_CHECK_S = 0.5
LEASE_CHECK_S = 2.0
SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h
ORPHANED = 143


class _LeftOut(MetaPathFinder):
    """Hides what libraries take along wherever it is installed and no step uses: 25 MB of pandas by pyarrow, 180 MB of
    torch by spaCy, and a second of start-up."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname in ("pandas", "torch"):
            raise ModuleNotFoundError(f"{fullname} is left out of workers", name=fullname)


class UnknownStep(ValueError):
    """No step of that name."""


def do(path: Path) -> ShardRecord:
    """Does the job of a `job.json` and writes its record, or finds it written.

    Raises UnknownStep, CodeChanged, what the step does.
    """
    job = ShardJob.load(path, json.loads(os.environ.get("STEMMA_STORAGE_OPTIONS", "null")))
    if job.step not in STEPS:
        raise UnknownStep(f"unknown step {job.step}: the steps are {', '.join(STEPS)}")
    if record := finished(job):
        return record
    heartbeat = path.parent / HEARTBEAT
    parts, counts = import_module(STEPS[job.step]).run(job, heartbeat.touch)
    record = ShardRecord(job.digest, job.step, job.shard, parts, counts, peak_resident_bytes())
    record.write(path.parent)
    finished(job)  # read here what was written, so that the parent of a thousand workers need not
    return record


def peak_resident_bytes() -> int:
    """The most memory that this process has held at once."""
    try:
        status = Path("/proc/self/status").read_text()  # getrusage would count the parent's, before exec
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return int(status.partition("VmHWM:")[2].split(None, 1)[0]) * 1024


def end_with_parent(parent: int) -> None:
    """Ends this process soon after its parent has ended: an orphan must not go on beside the next run."""
    if sys.platform == "linux":  # at once, and even where this process hangs or is stopped
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_S)
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def end_with_lease(lease: Path, patience_s: float) -> None:
    """Ends this process when the lease is gone, or has not changed for so long by this machine's monotonic clock."""

    def watch() -> None:
        known, since = 0, time.monotonic()
        while time.monotonic() - since < patience_s:
            try:
                changed = lease.stat().st_mtime_ns
            except FileNotFoundError:
                break
            except OSError:
                changed = known  # the file system is away: that is silence too
            if changed != known:
                known, since = changed, time.monotonic()
            time.sleep(min(LEASE_CHECK_S, patience_s / 4))
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="lease", daemon=True).start()


def main(arguments: list[str]) -> int:
    """Entry point; see the module's first lines."""
    sys.meta_path.insert(0, _LeftOut())
    if parent := os.environ.get("STEMMA_PARENT"):
        end_with_parent(int(parent))
    if lease := os.environ.get("STEMMA_LEASE"):
        end_with_lease(Path(lease), float(os.environ["STEMMA_LEASE_S"]))
    for argument in arguments:
        do(Path(argument))
    if not arguments:
        answers = os.dup(sys.stdout.fileno())  # kept for answers: libraries print to standard output too
        for line in sys.stdin:
            path = Path(line.rstrip("\n"))
            log = os.open(path.parent / ERRORS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (sys.stdout, sys.stderr):
                os.dup2(log, stream.fileno())
            os.close(log)
            do(path)
            sys.stdout.flush()
            os.write(answers, f"{path}\n".encode())
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # all is written: taking the interpreter apart costs a fifth of a second for every step
