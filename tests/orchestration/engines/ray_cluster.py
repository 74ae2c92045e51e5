"""A real Ray cluster on this machine: a head without CPUs and nodes of one CPU, each a raylet with its own workers."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil

missing = None if find_spec("ray") else "Ray is not installed: pip install -e '.[ray]'"
WAIT_S = 300
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block"]
QUIET = ["--disable-usage-stats", "--object-store-memory", str(80 << 20), "--min-worker-port=0", "--max-worker-port=0"]


class RayCluster:
    """Everything of it lies in `folder`, a short path: socket names may have 107 characters."""

    def __init__(self, nodes: int = 2) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        # it asks for a token, as every cluster should; its workers are no less urgent than what waits for them
        self.variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_worker_niceness": "0"}
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.wanted = nodes

    def __enter__(self) -> RayCluster:
        port = self.address.rpartition(":")[2]
        options = ["--head", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={self.folder}"]
        self.head = self._start([*options, f"--port={port}"], {})
        for _ in range(self.wanted):
            self.add()
        return self

    def __exit__(self, *_: object) -> None:
        for node in [*self.nodes, self.head]:
            _fell(node)
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """One more node of one CPU; its working directory is the cluster's folder."""
        self.nodes.append(self._start([f"--address={self.address}", "--num-cpus=1", *options], environment))
        return self.nodes[-1]

    def remove(self, node: subprocess.Popen[bytes]) -> None:
        """The node dies with everything on it, as when its power fails."""
        self.nodes.remove(node)
        _fell(node)

    def behead(self) -> None:
        """The head dies, and with it what the driver is connected to."""
        _fell(self.head)

    def _start(self, options: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """A head or node that has joined: Ray says so. It has a long time for it, for the machine may be busy."""
        here = {"RAY_TMPDIR": str(self.folder), "TMPDIR": str(self.folder), "RAY_raylet_start_wait_time_s": str(WAIT_S)}
        here |= self.variables
        said = self.folder / f"start-{len(list(self.folder.glob('start-*')))}.log"
        with said.open("wb") as log:
            seen = {**os.environ, **here, **environment}
            started = subprocess.Popen([*RAY, *QUIET, *options], cwd=self.folder, env=seen, stdout=log, stderr=log)
        wait_for(lambda: b"Ray runtime started" in said.read_bytes() or started.poll(), f"Ray to start: see {said}")
        assert started.poll() is None, said.read_text()[-2000:]
        return started

    def workers(self) -> list[psutil.Process]:
        """Worker processes of Stemma on the cluster's nodes."""
        return [one for one in psutil.process_iter() if self._is_ours(one, "assets.steps.worker")]

    def _is_ours(self, process: psutil.Process, named: str) -> bool:
        try:
            return named in process.cmdline() and process.environ().get("RAY_TMPDIR") == str(self.folder)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def hunt(
        self, shot: Callable[[psutil.Process], object], times: int
    ) -> contextlib.AbstractContextManager[list[int]]:
        """While it is entered, shoots so many workers that are at work; the list holds those that were hit."""
        return _hunting(self, shot, times)

    def wait_until_idle(self) -> None:
        """Until no worker is left. Raises AssertionError when one stays."""
        wait_for(lambda: not self.workers(), "all workers to be gone")


@contextlib.contextmanager
def _hunting(cluster: RayCluster, shot: Callable[[psutil.Process], object], times: int) -> Iterator[list[int]]:
    hit: list[int] = []
    over = threading.Event()

    def hunt() -> None:
        while len(hit) < times and not over.wait(0.1):
            for worker in cluster.workers():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if worker.pid not in hit and worker.cpu_times().user > 0.15:
                        hit.append(worker.pid)
                        shot(worker)
                        break

    thread = threading.Thread(target=hunt)
    thread.start()
    try:
        yield hit
    finally:
        over.set()
        thread.join()


def _fell(node: subprocess.Popen[bytes]) -> None:
    """Kills the node's processes all at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        whole = [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
        for one in whole:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    node.wait()


def kill(worker: psutil.Process) -> None:
    """The worker program, which is the fat one: it is what a system short of memory kills."""
    worker.send_signal(signal.SIGKILL)


def kill_task(worker: psutil.Process) -> None:
    """Ray's process, in which the task runs that watches the worker."""
    task = worker.parent()
    assert task is not None and task.name().startswith("ray::")
    task.send_signal(signal.SIGKILL)


def stop(worker: psutil.Process) -> None:
    """It hangs from now on."""
    worker.send_signal(signal.SIGSTOP)


def wait_for(happened: Callable[[], object], what: str) -> None:
    """Waits for it. Raises AssertionError when it does not come."""
    deadline = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < deadline, f"waited {WAIT_S} s for {what}"
        time.sleep(0.05)
