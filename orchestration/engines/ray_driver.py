"""`python -m orchestration.engines.ray_driver`: the process that speaks with a Ray cluster, for the engine beside it.

Ray ends the process that drives it when the head is lost, prints on its standard output and takes its signals: so it
has one of its own. It reads lines of JSON, first {address, cpus, memory_bytes, storage_options, beat_s}, then
{"submit": number, "job": …} and {"cancel": number}; it writes the events of ray_task with their number, "lost" for a
task that ended with its worker or node, and {"slots": n}, how many shards the cluster can do at once. When its input
ends it cancels what is left, and ends.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

import ray
import ray.exceptions

from assets.steps.jobs import ShardJob
from orchestration.engines.ray_task import attempt, carried_files

LOOK_S = 0.05  # how long new requests wait while tasks are going on
COUNT_S = 5.0  # how often nodes are counted
KNOCK_S = 10.0
GRACE_S = 10.0  # for cancelling, when the engine is gone; then the process ends and Ray cancels
Request = dict[str, Any]


class _Driver:
    """The tasks of one run."""

    def __init__(self, settings: Request, answers: int) -> None:
        self.answers, self.storage_options, self.beat_s = answers, settings["storage_options"], settings["beat_s"]
        self.cpus, self.memory = settings["cpus"], settings["memory_bytes"]
        options = {"num_cpus": self.cpus, "max_retries": 0, **({"memory": self.memory} if self.memory else {})}
        self.task: Any = ray.remote(**options)(attempt)
        self.tasks: dict[Any, int] = {}  # generator of events -> number
        self.carried: tuple[tuple[str, ...], Any] = ((), None)
        self.counted, self.slots = 0.0, -1

    def say(self, **event: Any) -> None:
        os.write(self.answers, json.dumps(event).encode() + b"\n")

    def obey(self, request: Request) -> None:
        """Starts a task, or cancels one."""
        if "submit" in request:
            job = ShardJob(**{name: value for name, value in request["job"].items() if name != "digest"})
            made = self.task.remote(request["job"], self.storage_options, self._carry(job), self.beat_s)
            self.tasks[made] = request["submit"]
        for made, number in self.tasks.items():
            if number == request.get("cancel"):
                ray.cancel(made, force=True)

    def _carry(self, job: ShardJob) -> Any:
        """What the job needs of the home, in Ray's store once for all jobs that need the same files."""
        files = carried_files(job)
        key = tuple(map(str, files.values()))  # none of these files changes under its name
        if self.carried[1] is None or self.carried[0] != key:
            self.carried = (key, ray.put({name: path.read_bytes() for name, path in files.items()}))
        return self.carried[1]

    def listen(self) -> None:
        """Passes on what tasks have said."""
        some, _ = ray.wait(list(self.tasks), num_returns=1, timeout=LOOK_S, fetch_local=False)
        if some:
            some, _ = ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=0, fetch_local=False)
        made: Any
        for made in some:
            try:
                event: Any = ray.get(next(made))
            except StopIteration:
                event = {"event": "lost", "cause": "ended without a result"}
            except ray.exceptions.RayError as error:
                event = {"event": "lost", "cause": _one_line(error)}
            number = self.tasks[made]
            if event["event"] not in ("started", "beat"):
                del self.tasks[made]
            self.say(number=number, **event)

    def count(self) -> None:
        """Tells how many shards the cluster has room for, when that changed."""
        if time.monotonic() - self.counted < COUNT_S:
            return
        self.counted, slots = time.monotonic(), 0
        for node in ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                room = has.get("CPU", 0.0) / self.cpus
                slots += int(min(room, has.get("memory", 0.0) / self.memory) if self.memory else room)
        if slots != self.slots:
            self.slots = slots
            self.say(slots=slots)

    def cancel_all(self) -> None:
        for made in self.tasks:
            ray.cancel(made, force=True)


def _one_line(error: BaseException) -> str:
    """What a person needs of one of Ray's errors, which go over many lines."""
    if isinstance(error, ray.exceptions.RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _read(requests: SimpleQueue[Request | None]) -> None:
    """Reads requests until the engine is gone; then nothing may keep this process for long."""
    for line in sys.stdin:
        requests.put(json.loads(line))
    requests.put(None)
    time.sleep(GRACE_S)
    os._exit(1)


def _knock(address: str) -> None:
    """Raises OSError at once where nobody listens; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()


def main() -> int:
    """Entry point; see the module's first lines."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    settings = json.loads(sys.stdin.readline())
    requests: SimpleQueue[Request | None] = SimpleQueue()
    threading.Thread(target=_read, args=(requests,), name="requests", daemon=True).start()
    try:
        _knock(settings["address"])
        # never a cluster of its own: an address is always given, and "local" is no address
        ray.init(address=settings["address"], log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        os.write(answers, json.dumps({"unreachable": _one_line(error)}).encode() + b"\n")
        return 1
    driver = _Driver(settings, answers)
    while True:
        driver.count()
        try:
            request = requests.get(block=not driver.tasks, timeout=COUNT_S)
        except Empty:
            if driver.tasks:
                driver.listen()
            continue
        if request is None:
            break
        driver.obey(request)
    driver.cancel_all()
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
