"""What runs on a node of a Ray cluster for one shard: the same worker program as everywhere, and words about how it is.

The task keeps one worker process (`python -m assets.steps.worker`) between shards. Nothing of the home needs to be on
the node: the job's folder is a scratch folder there, the ledger, the index of evaluation sets and the classifier come
along as bytes, and the record goes back by value. Only the crawl and the tables must be reachable under the same path
or URL.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assets.steps.jobs import ERRORS, HEARTBEAT, ShardJob, finished
from orchestration.engines.base import SHARDS_PER_WORKER, last_line, prepare, worker_environment

EXIT_S = 10.0  # that a worker may take to end after it has closed its answers
LOG_BYTES = 64 << 10  # of a failed worker's log, its end, goes back to the driver
Event = dict[str, Any]


class _Worker:
    """The worker process of this Ray process, and what it was started with."""

    def __init__(self, storage_options: dict[str, str] | None, scratch: Path) -> None:
        self.storage_options, self.started = storage_options, 0
        environment = {**worker_environment(storage_options, os.getpid()), "TMPDIR": str(scratch)}
        command, pipe = [sys.executable, "-m", "assets.steps.worker"], subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment)

    def fits(self, storage_options: dict[str, str] | None) -> bool:
        """Whether it may take a job."""
        alive = self.process.poll() is None
        return alive and self.storage_options == storage_options and self.started < SHARDS_PER_WORKER

    def end(self, patience_s: float = 0.0) -> int:
        """Kills it if it still runs after so long; returns its exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
        self.process.kill()
        self.process.communicate()
        return self.process.returncode


_worker: _Worker | None = None


def attempt(
    asked: dict[str, Any], storage_options: dict[str, str] | None, carried: dict[str, bytes], beat_s: float
) -> Iterator[Event]:
    """Does a job (ShardJob.to_json) on this node: says "started", "beat" while its heart beats, and how it ended.

    carried: what `carried_files` gave on the driver. The last event is "done" with the record, "failed" with the cause
    and the log, "killed" with the signal, or "refused" where this node has other code than the driver.
    """
    node = socket.gethostname()
    yield {"event": "started", "node": node, "pid": os.getpid()}
    folder = _own_folder()
    job = ShardJob(
        **{name: value for name, value in asked.items() if name != "digest"}, storage_options=storage_options
    )
    if job.digest != asked["digest"]:
        cause = f"the node {node} has other code than this one: install the same Stemma and packages there"
        yield {"event": "refused", "cause": cause}
        return
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        yield from _attempt(_moved(job, Path(scratch), carried), folder, beat_s)


def _attempt(job: ShardJob, folder: Path, beat_s: float) -> Iterator[Event]:
    global _worker
    path, heartbeat = prepare(job), job.folder / HEARTBEAT
    if _worker is None or not _worker.fits(job.storage_options):
        if _worker is not None:
            _worker.end()
        _worker = _Worker(job.storage_options, folder)
    worker, beaten, answered, patience_s = _worker, heartbeat.stat().st_mtime_ns, False, 0.0
    assert worker.process.stdin and worker.process.stdout
    worker.started += 1
    try:
        worker.process.stdin.write(f"{path}\n".encode())
        worker.process.stdin.flush()
        while not select.select([worker.process.stdout], [], [], beat_s)[0]:
            if (now := heartbeat.stat().st_mtime_ns) != beaten:
                beaten = now
                yield {"event": "beat"}
        answered, patience_s = bool(os.read(worker.process.stdout.fileno(), 1 << 16)), EXIT_S
    except BrokenPipeError:
        patience_s = EXIT_S  # it is dead, or nearly: its exit code says of what
    finally:
        if not answered:
            _worker, code = None, worker.end(patience_s)
    yield _done(job) if answered else _ended(job, code)


def _done(job: ShardJob) -> Event:
    record = finished(job)
    if record is None:
        return {"event": "failed", "cause": "the worker ended the job without a valid record", "log": ""}
    return {"event": "done", "record": asdict(record)}


def _ended(job: ShardJob, code: int) -> Event:
    if code < 0:
        known = {one.value: one.name for one in signal.Signals}
        return {"event": "killed", "cause": f"was killed by {known.get(-code, f'signal {-code}')}"}
    log = job.folder / ERRORS
    tail = log.read_bytes()[-LOG_BYTES:].decode(errors="replace")
    return {"event": "failed", "cause": f"{last_line(log)} (exit code {code})", "log": tail}


def carried_files(job: ShardJob) -> dict[str, Path]:
    """What the job reads from the home of the driver: name on the node -> local file.

    The ledger of takedowns is among it, so that every node refuses what is to be refused.
    """
    files = {}
    if home := job.places.get("home"):
        entries = sorted(Path(home, "takedowns").glob("[0-9]*.json"))
        files |= {f"home/takedowns/{path.name}": path for path in entries}
    for name in ("index", "classifier"):
        if path := job.places.get(name):
            files[name] = Path(path)
    return files


def _moved(job: ShardJob, scratch: Path, carried: dict[str, bytes]) -> ShardJob:
    """The same job with its folder, and what it reads from the driver's home, on this node."""
    for name, content in carried.items():
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    ours = {"home": scratch / "home", **{name: scratch / name for name in ("index", "classifier")}}
    if not os.access(job.places.get("cache", ""), os.W_OK):
        ours["cache"] = _base() / "cache"  # the home is not shared: this node builds the block lists' arrays once
    places = {**job.places, **{name: str(path) for name, path in ours.items() if name in job.places}}
    return ShardJob(**{**vars(job), "places": places, "work": str(scratch / "work")})


def _own_folder() -> Path:
    """A scratch folder for this process; those of processes that were killed are removed."""
    for left in _base().glob("[0-9]*"):
        if not Path("/proc", left.name).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = _base() / str(os.getpid())
    folder.mkdir(exist_ok=True)
    return folder


def _base() -> Path:
    """The folder of all scratch on this node, ours alone. Raises PermissionError if somebody else has made it."""
    base = Path(tempfile.gettempdir(), f"stemma-{os.getuid()}")
    base.mkdir(mode=0o700, exist_ok=True)
    state = base.lstat()
    if state.st_uid != os.getuid() or state.st_mode & 0o077 or base.is_symlink():
        raise PermissionError(f"{base} on {socket.gethostname()} is not ours alone: remove it")
    return base
