"""The Slurm engine: shard jobs as tasks of job arrays, on any cluster whose nodes share this machine's file system.

Shared are the job folders (under STEMMA_HOME), this source tree, the Python environment and, unless they lie on S3, the
tables. A task is a worker as the local engine starts it: it reads the paths of its `job.json` files and names each that
is done, so records, part files and bytes are the local engine's. Nothing is pickled. The library submitit was looked at
and left: it hands the function over as a cloudpickle in the shared folder and loads the answer from there the same way,
in the driver too, so whoever can write in that folder runs code as the user; JSON that is checked against a digest
cannot do that.

What can happen to a task, and the answer:
- killed, out of memory, out of time, node lost, preempted, vanished from the queue, no heartbeat for `stall_s`: the
  shard that it was at is tried again, in a task of its own, `retries` times; shards behind it just go back;
- Slurm starts it again by itself (node failure, scontrol requeue): it goes on behind the shards that are done;
- the shard's own error: reported at once, for the same input would fail the same way;
- cancelled by a person, or kept for a reason that does not pass (held, no such account): the run ends and says so;
- the controller away: tasks run on and are followed by their files; after `away_s` the run ends;
- the driver ends in whatever way: a small process beside it cancels all its jobs; where that dies too (the machine is
  gone), tasks end when the run's lease file has not changed for `LEASE_S`, by their own monotonic clock.
Storage options, which may hold secrets, travel in the jobs' environment: Slurm keeps that in its state folder, which
only its own user can read.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from assets.steps.jobs import ERRORS, HEARTBEAT, ShardJob, ShardRecord, finished
from orchestration.engines.base import (
    FAILURES_BEFORE_STOP,
    REPO,
    SHARDS_PER_WORKER,
    OnProgress,
    ShardFailed,
    last_line,
    prepare,
    worker_environment,
)
from orchestration.engines.slurm_queue import Queue, Seen, SlurmAway, SlurmRefused, SlurmSettings

LEASE_S = 180.0  # network file systems may show a change a minute late
LAG_S = 90.0  # for as long a record may stay unseen that a task says it wrote
LOST_AFTER = 3  # so many looks at the queue without the task
BYTES_PER_TASK = 32 << 20  # of input: about a minute's work, beside which two seconds of start-up are little
STOP_S = 30.0

WAITING = {"PENDING", "REQUEUED", "SUSPENDED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD", "CONFIGURING"}
AT_WORK = {"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "RESIZING", "STOPPED"}
STUCK = {  # reasons for waiting that no waiting ends
    "JobHeldUser", "JobHeldAdmin", "BadConstraints", "InvalidAccount", "InvalidQOS", "AccountNotAllowed",
    "QOSNotAllowed", "DependencyNeverSatisfied", "PartitionTimeLimit", "PartitionNodeLimit",
    "AssocMaxWallDurationPerJobLimit", "QOSMaxWallDurationPerJobLimit", "launch failed requeued held",
}  # fmt: skip
CAUSES = {
    "TIMEOUT": "the task was stopped at its time limit (STEMMA_SLURM_TIME gives more)",
    "DEADLINE": "the task was stopped at its deadline",
    "OUT_OF_MEMORY": "the task needed more than its memory (STEMMA_SLURM_MEMORY gives more)",
    "NODE_FAIL": "the node failed",
    "BOOT_FAIL": "the node did not start",
    "PREEMPTED": "the task was preempted",
}

# cancels what is left when its input ends without the word; then takes the run's folder away, and with it the lease
GUARD = """read word
if [ "$word" != done ]; then
  n=0
  until scancel --quiet --user="$2" --name="$1" && test -z "$(squeue -h --user="$2" --name="$1" || echo unknown)"; do
    n=$((n + 1)); test $n -gt 200 && break
    if test $n -gt 10; then sleep 10; else sleep 1; fi
  done
fi
rm -rf "$3"
"""


@dataclass
class _Task:
    """One task: the shards that it does in turn, and how far it is seen to be."""

    shards: list[int]
    files: Path  # with the suffixes .jobs, .done and .log
    done: int = 0
    missed: int = 0  # looks that did not find it
    waiting: bool = True
    signs: dict[str, tuple[Hashable, float]] = field(default_factory=dict)

    def unchanged(self, name: str, sign: Hashable, limit_s: float) -> bool:
        """Whether that sign has been the same for longer than the limit, by this process's monotonic clock."""
        known, since = self.signs.get(name, (None, 0.0))
        if known != sign:
            self.signs[name] = (sign, time.monotonic())
            return False
        return time.monotonic() - since > limit_s


class SlurmEngine:
    """Runs jobs as tasks of Slurm arrays.

    Args: `settings` of the site; `retries` of a shard after its task was lost; `stall_s` seconds without a heartbeat
    after which a task is cancelled; `away_s` seconds that the controller may be silent; `queue_s` seconds for which
    nothing may start; `lag_s` for which a file may stay unseen that a task wrote; `look_s` between two looks;
    `bytes_per_task` of input that make a task; `python` on the nodes.
    """

    def __init__(
        self,
        settings: SlurmSettings | None = None,
        *,
        retries: int = 3,
        stall_s: float = 900.0,
        away_s: float = 1800.0,
        queue_s: float = 86400.0,
        lag_s: float = LAG_S,
        look_s: float = 5.0,
        bytes_per_task: int = BYTES_PER_TASK,
        python: str = sys.executable,
    ) -> None:
        self.settings = settings or SlurmSettings.from_environment()
        self.retries, self.stall_s, self.away_s, self.queue_s, self.look_s = retries, stall_s, away_s, queue_s, look_s
        self.lag_s, self.bytes_per_task, self.python = lag_s, bytes_per_task, python
        self.peak_worker_bytes = 0

    def run(self, step: str, jobs: Sequence[ShardJob], on_progress: OnProgress | None = None) -> list[ShardRecord]:
        """See orchestration.engines.base.Engine.run."""
        run = _Run(self, step, jobs, on_progress)
        if run.waiting:
            with _Guarded(run.queue, run.folder) as guarded:
                run.to_the_end()
                guarded.is_over = not run.tasks
        if run.failures:
            first = min(run.failures)
            raise ShardFailed(step, jobs[first].shard, run.failures[first], len(run.failures) - 1)
        return [record for record in run.records if record is not None]


class _Guarded:
    """The run's folder, its lease and the process that cancels the run's jobs when this one ends."""

    def __init__(self, queue: Queue, folder: Path) -> None:
        self.queue, self.folder, self.is_over = queue, folder, False
        self.ended = threading.Event()

    def __enter__(self) -> _Guarded:
        self.folder.mkdir(parents=True)
        (self.folder / "lease").touch()
        words = ["/bin/sh", "-c", GUARD, "guard", self.queue.name, self.queue.user, str(self.folder)]
        # a session of its own: Ctrl-C in the terminal must reach the driver and not this
        self.guard = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        threading.Thread(target=self._renew, name="lease", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        assert self.guard.stdin
        try:
            self.guard.stdin.write(b"done\n" if self.is_over else b"")
            self.guard.stdin.close()
            self.guard.wait(STOP_S)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            pass  # gone: then the lease ends the tasks; or it goes on trying without us

    def _renew(self) -> None:
        while not self.ended.wait(LEASE_S / 6):
            (self.folder / "lease").touch()


class _Run:
    """One call of SlurmEngine.run."""

    def __init__(self, engine: SlurmEngine, step: str, jobs: Sequence[ShardJob], on_progress: OnProgress | None):
        self.engine, self.step, self.jobs, self.on_progress = engine, step, jobs, on_progress
        self.records: list[ShardRecord | None] = [finished(job) for job in jobs]
        self.waiting = deque(index for index, record in enumerate(self.records) if record is None)
        self.attempts = [0] * len(jobs)
        self.tasks: dict[tuple[int, int], _Task] = {}
        self.failures: dict[int, str] = {}
        self.arrays, self.is_stopping = 0, False
        self.queue = Queue(f"stemma-{uuid.uuid4().hex[:16]}", engine.settings)
        self.folder = Path(jobs[0].work if jobs else ".", "slurm", self.queue.name).absolute()
        self.answered = self.moved = time.monotonic()
        self._report("")

    def to_the_end(self) -> None:
        """Until every job is finished or failed; ends early when several failed or Slurm refuses."""
        try:
            while (self.waiting or self.tasks) and not self.is_stopping:
                self._submit()
                time.sleep(self.engine.look_s)
                self._look()
        except SlurmRefused as error:
            self._give_up(str(error))

    def _submit(self) -> None:
        room = self.engine.settings.tasks - len(self.tasks)
        if not self.waiting or room < min(len(self.waiting), max(1, self.engine.settings.tasks // 4)):
            return  # a few larger arrays are kinder to the controller than many small ones
        number, self.arrays = self.arrays, self.arrays + 1
        folder = self.folder / str(number)
        folder.mkdir()
        tasks = []
        while self.waiting and len(tasks) < room:
            task = _Task(self._next_shards(), folder / str(len(tasks)))
            lines = [f"{prepare(self.jobs[index])}\n" for index in task.shards]
            task.files.with_suffix(".jobs").write_text("".join(lines))
            tasks.append(task)
        self.tasks.update({(number, index): task for index, task in enumerate(tasks)})
        # the environment tells a worker what it must outlive: the lease, not a parent
        environment = worker_environment(self.jobs[0].storage_options, parent=None)
        environment |= {"STEMMA_LEASE": str(self.folder / "lease"), "STEMMA_LEASE_S": str(LEASE_S)}
        files = f"{shlex.quote(str(folder))}/$SLURM_ARRAY_TASK_ID"
        worker = f"exec {shlex.quote(self.engine.python)} -m assets.steps.worker"
        script = f"#!/bin/sh\n{worker} < {files}.jobs > {files}.done 2> {files}.log\n"
        with suppress(SlurmAway):  # perhaps it was taken: looks will tell, and tasks that nobody knows count as lost
            self.queue.submit(number, script, len(tasks), str(REPO), environment)

    def _next_shards(self) -> list[int]:
        """The next shards that together are worth a task; one that was lost before gets a task of its own."""
        shards, size = [self.waiting.popleft()], 0
        while self.waiting and len(shards) < SHARDS_PER_WORKER:
            size += _input_bytes(self.jobs[shards[-1]], self.engine.bytes_per_task)
            following = self.waiting[0]
            if self.attempts[shards[0]] or self.attempts[following]:
                break
            if size + _input_bytes(self.jobs[following], self.engine.bytes_per_task) > self.engine.bytes_per_task:
                break
            shards.append(self.waiting.popleft())
        return shards

    def _look(self) -> None:
        for key, task in list(self.tasks.items()):
            self._read_answers(key, task)
        if not self.tasks:
            return
        now = time.monotonic()
        try:
            seen = self.queue.look()
        except SlurmAway as error:
            if now - self.answered > self.engine.away_s:
                self._give_up(f"the Slurm controller was silent for {self.engine.away_s:g} s ({error})")
            return
        self.answered = now
        for key, task in list(self.tasks.items()):
            self._read_answers(key, task)  # again: what a task wrote before it was seen to have ended
            if key in self.tasks:
                self._judge(key, task, seen.get(key))
        if any(not task.waiting for task in self.tasks.values()):
            self.moved = now
        elif self.tasks and now - self.moved > self.engine.queue_s:
            reasons = sorted({one.reason for one in seen.values()})
            self._give_up(f"nothing started for {self.engine.queue_s:g} s; Slurm's reason: {', '.join(reasons)}")

    def _read_answers(self, key: tuple[int, int], task: _Task) -> None:
        """Takes the records of shards that the task names as done."""
        try:
            lines = task.files.with_suffix(".done").read_bytes().count(b"\n")
        except FileNotFoundError:
            return
        while task.done < min(lines, len(task.shards)):
            index = task.shards[task.done]
            record = finished(self.jobs[index])
            if record is None and not task.unchanged("record", index, self.engine.lag_s):
                return
            if record is None:
                self.failures[index] = "the worker ended the job without a valid record"
                self.is_stopping |= len(self.failures) >= FAILURES_BEFORE_STOP
            else:
                self._keep(index, record)
            task.done += 1
        if task.done == len(task.shards):
            del self.tasks[key]

    def _judge(self, key: tuple[int, int], task: _Task, seen: Seen | None) -> None:
        """What becomes of a task that is not through."""
        task.waiting = seen is not None and seen.state in WAITING
        task.missed = 0 if seen else task.missed + 1
        if seen is None:
            if task.missed >= LOST_AFTER:
                self._lost(key, task, "the job was lost from Slurm's queue")
        elif seen.state in WAITING:
            if seen.reason in STUCK or seen.state in ("REQUEUE_HOLD", "SPECIAL_EXIT"):
                self._give_up(f"job {seen.name} cannot start: {seen.reason}", task.shards[task.done])
        elif seen.state in AT_WORK:
            heartbeat = self.jobs[task.shards[task.done]].folder / HEARTBEAT
            if task.unchanged("beat", (task.done, heartbeat.stat().st_mtime_ns), self.engine.stall_s):
                with suppress(SlurmAway):  # it then runs on to its own end, beside another of the same bytes
                    self.queue.cancel(seen)
                self._lost(key, task, f"the worker gave no heartbeat for {self.engine.stall_s:g} s")
        elif seen.state == "CANCELLED":
            self._give_up(f"job {seen.name} was cancelled by someone; run again to go on", task.shards[task.done])
        elif seen.state == "COMPLETED":
            if task.unchanged("end", "completed", self.engine.lag_s):
                self._lost(key, task, "the task ended without naming the shard")
        else:
            self._ended(key, task, seen)

    def _ended(self, key: tuple[int, int], task: _Task, seen: Seen) -> None:
        """A task that ended badly: lost to a signal or the cluster, or by the shard's own error."""
        signal, code = seen.status & 127, seen.status >> 8
        log = self.jobs[task.shards[task.done]].folder / ERRORS
        if seen.state in CAUSES:
            self._lost(key, task, CAUSES[seen.state])
        elif signal or code > 128:
            self._lost(key, task, f"the worker was killed by signal {signal or code - 128}")
        elif code == 1 and log.stat().st_size:
            self._lost(key, task, f"{last_line(log)} (exit code 1; all of it: {log})", is_final=True)
        else:  # the worker did not get so far as to begin: this node, or every node
            log = task.files.with_suffix(".log")
            said = last_line(log) if log.exists() else f"does the node see {self.folder.parent}?"
            self._lost(key, task, f"the worker could not be started: {said} (exit code {code}, {seen.state})")

    def _lost(self, key: tuple[int, int], task: _Task, cause: str, *, is_final: bool = False) -> None:
        """The task is over: the shard that it was at is tried again or fails, those behind it go back."""
        del self.tasks[key]
        at, *behind = task.shards[task.done :]
        self.waiting.extendleft(reversed(behind))
        if record := finished(self.jobs[at]):
            self._keep(at, record)
        elif is_final or self.attempts[at] >= self.engine.retries:
            times = self.attempts[at] + 1
            self.failures[at] = cause if is_final or times == 1 else f"{cause}; so it went {times} times"
            self.is_stopping |= len(self.failures) >= FAILURES_BEFORE_STOP
        else:
            self.attempts[at] += 1
            self.waiting.append(at)

    def _give_up(self, cause: str, index: int | None = None) -> None:
        """Ends the run; the cause is told of that shard, or of the first that is unfinished."""
        unfinished = (i for i, record in enumerate(self.records) if record is None and i not in self.failures)
        self.failures[next(unfinished, 0) if index is None else index] = cause
        self.is_stopping = True

    def _keep(self, index: int, record: ShardRecord) -> None:
        self.records[index] = record
        self.engine.peak_worker_bytes = max(self.engine.peak_worker_bytes, record.peak_bytes)
        self._report(record.shard)

    def _report(self, shard: str) -> None:
        if self.on_progress:
            self.on_progress(sum(record is not None for record in self.records), len(self.jobs), shard)


def _input_bytes(job: ShardJob, unknown: int) -> int:
    """What a job reads of its own shard, in bytes; `unknown` where its inputs do not say."""
    if size := job.inputs.get("size_bytes"):
        return size // max(1, job.config.get("range", [0, 1])[1])
    pages = job.inputs.get("documents", [])
    return sum(part["bytes"] for part in pages) if pages else unknown
