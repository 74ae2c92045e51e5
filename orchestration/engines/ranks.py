"""`python -m orchestration.engines.ranks --name NAME -- -m models pretrain …`: one training on many processes.

STEMMA_RANKS processes on each of STEMMA_NODES machines, started where STEMMA_ENGINE says: here, as one job of Slurm, or
on nodes of a Ray cluster that a placement group keeps together. On each machine torchrun starts the processes, and
starts all of them again from the last whole state when one dies. The command ends as they end. The nodes must see the
work directory under its name, and this source tree and Python, as for the Slurm engine.

A job that an earlier attempt left in Slurm's queue (its driver lost power) has the same name, and is cancelled and
waited for before another one begins; on Ray nothing outlives its driver.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from orchestration.engines.base import REPO
from orchestration.engines.choose import EngineUnknown, need, positive
from orchestration.engines.slurm_queue import Queue, SlurmSettings

RESTARTS = 2  # of all ranks, from the last whole state, after one of them died
WAIT_S = 300.0  # for an earlier job to be gone
SAID_BYTES = 4000  # of what a node said, when it failed
FIRST_PORT, PORTS = 20_000, 10_000  # where the machines of a job meet: each job has its own


def on_one_machine(ranks: int) -> list[str]:
    """torchrun's words for processes that meet on their machine."""
    return ["-m", "torch.distributed.run", "--standalone", *_shared(ranks)]


def on_machines(ranks: int, nodes: int, name: str, endpoint: str, is_host: str) -> list[str]:
    """The same for several machines that meet at host:port, which is on the one where is_host is true."""
    meeting = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-id={name}", f"--rdzv-endpoint={endpoint}"]
    return ["-m", "torch.distributed.run", *meeting, f"--rdzv-conf=is_host={is_host}", *_shared(ranks)]


def _shared(ranks: int) -> list[str]:
    return [f"--nproc-per-node={ranks}", f"--max-restarts={RESTARTS}"]


def through_slurm(name: str, ranks: int, nodes: int, words: Sequence[str]) -> NoReturn:
    """Becomes the srun of one job. Raises SlurmRefused, TimeoutError where an earlier one does not end."""
    _cancel_earlier(Queue(name, SlurmSettings()))
    python = shlex.quote(sys.executable)
    torchrun = on_one_machine(ranks)
    if nodes > 1:  # the first machine of the job is known inside of it alone
        port = f"$(({FIRST_PORT} + SLURM_JOB_ID % {PORTS}))"
        first = '"$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"'
        is_host = '"$(test "$SLURM_NODEID" = 0 && echo true || echo false)"'
        torchrun = on_machines(ranks, nodes, name, f"{first}:{port}", is_host)
    script = f"exec {python} {' '.join(torchrun)} {shlex.join(words)}"
    job = [f"--job-name={name}", f"--nodes={nodes}", f"--ntasks={nodes}", f"--cpus-per-task={ranks}"]
    options = ["--ntasks-per-node=1", "--kill-on-bad-exit=1", "--quiet", f"--chdir={REPO}"]
    # variables of a job that this process itself may run in are not those of the new one
    outside = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_") or key == "SLURM_CONF"}
    asked = SlurmSettings.from_environment().words()
    os.execvpe("srun", ["srun", *job, *options, *asked, "/bin/sh", "-c", script], outside)  # noqa: S606


def _cancel_earlier(queue: Queue) -> None:
    began = time.monotonic()
    while _is_there(queue):
        subprocess.run(["scancel", "--quiet", f"--user={queue.user}", f"--name={queue.name}"], check=False)
        if time.monotonic() - began > WAIT_S:
            raise TimeoutError(f"an earlier job {queue.name} does not leave Slurm's queue: see squeue")
        time.sleep(1)


def _is_there(queue: Queue) -> bool:
    asked = ["squeue", "-h", f"--user={queue.user}", f"--name={queue.name}"]
    return bool(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())


def through_ray(name: str, ranks: int, nodes: int, words: Sequence[str]) -> int:
    """Runs it on nodes of a cluster; the worst exit code. Raises what Ray raises when a node dies."""
    need("ray", "ray")
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    ray.init(address=os.environ.get("STEMMA_RAY_ADDRESS") or "auto", log_to_driver=False)
    room: dict[str, float] = {"CPU": ranks}
    if gpus := positive("STEMMA_RAY_GPUS"):
        room["GPU"] = gpus
    group = placement_group([room] * nodes, strategy="STRICT_SPREAD" if nodes > 1 else "PACK")
    ray.get(group.ready())

    def on(node: int, function: Any, *given: Any) -> Any:
        place: Any = PlacementGroupSchedulingStrategy(group, node)
        task: Any = ray.remote(num_cpus=ranks, num_gpus=room.get("GPU", 0), max_retries=0)(function)
        return task.options(scheduling_strategy=place).remote(*given)

    torchruns = [on_one_machine(ranks)]
    if nodes > 1:
        addresses = ray.get([on(node, _address) for node in range(nodes)])
        endpoint = ":".join(map(str, addresses[0]))
        torchruns = [
            [*on_machines(ranks, nodes, name, endpoint, str(node == 0).lower()), f"--local-addr={host}"]
            for node, (host, _) in enumerate(addresses)
        ]
    carried = {key: value for key, value in os.environ.items() if key.startswith(("DAGSTER_PIPES", "STEMMA_", "AWS_"))}
    running = [on(node, _run, [*torchrun, *words], carried) for node, torchrun in enumerate(torchruns)]
    while running:  # the first that fails ends the others: they would wait for it
        done, running = ray.wait(running)
        for code, said in ray.get(done):
            if code:
                print(said, file=sys.stderr)
                return code
    return 0


def _address() -> tuple[str, int]:
    """The host and a free port of the node that this runs on."""
    import socket

    import ray

    with socket.socket() as free:
        free.bind(("", 0))
        return ray.util.get_node_ip_address(), free.getsockname()[1]


def _run(words: list[str], variables: dict[str, str]) -> tuple[int, str]:
    """Runs Python with these words on a node; it ends when the worker that started it ends. The exit code, and the
    last of what was said."""
    import ctypes
    import signal

    def with_its_parent() -> None:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: torchrun then ends its processes

    environment = os.environ | variables
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, *words]
        done = subprocess.run(
            command, cwd=REPO, env=environment, check=False, preexec_fn=with_its_parent, stdout=said, stderr=said
        )
        said.seek(max(0, said.tell() - SAID_BYTES))
        last = said.read().decode(errors="replace")
    return (done.returncode if done.returncode >= 0 else 128 - done.returncode), last


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m orchestration.engines.ranks", description=__doc__)
    parser.add_argument("--name", required=True, help="of the training: the same for every attempt at it")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="what Python shall run in every process")
    given = parser.parse_args()
    words = given.words[1:] if given.words[:1] == ["--"] else given.words
    engine = os.environ.get("STEMMA_ENGINE") or "local"
    ranks, nodes = positive("STEMMA_RANKS") or 1, positive("STEMMA_NODES") or 1
    if engine == "slurm":
        through_slurm(given.name, ranks, nodes, words)
    if engine == "ray":
        return through_ray(given.name, ranks, nodes, words)
    if engine != "local" or nodes > 1:
        raise EngineUnknown(f"STEMMA_NODES={nodes} needs STEMMA_ENGINE=slurm or ray, not {engine!r}")
    os.execv(sys.executable, [sys.executable, *on_one_machine(ranks), *words])  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
