"""One asset of the scale bench, in a process of its own: `python -m tests.benchmarks.scale_step ASSET --snapshot NAME`.

It is made in a real Dagster run in the home that STEMMA_HOME names, and its checks run after it. Prints JSON last: CPU
seconds of this process and of its workers, wall seconds and peak memory, of the asset's body and of its checks apart.
"""

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

from assets.resources import Progress
from tests.benchmarks.dedup import memory, reset_peak


def marks() -> dict[str, float]:
    """CPU seconds of this process and of its ended children, wall seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu_s": time.process_time(),
        "workers_s": children.ru_utime + children.ru_stime,
        "wall_s": time.monotonic(),
    }


class Watch(Progress):
    """Takes the marks where an asset's body begins and ends; what follows until `stop` are its checks."""

    def __init__(self) -> None:
        self.phases: dict[str, dict[str, float]] = {}
        self._start("run")

    def begin(self, asset: str, partition: str | None) -> None:
        self._next("body")

    def end(self, asset: str, seconds: float) -> None:
        self._next("checks")

    def stop(self) -> dict[str, dict[str, float]]:
        """Figures of each phase: run (Dagster's own work until the body begins), body, checks."""
        self._next("")
        return self.phases

    def _start(self, phase: str) -> None:
        self.phase, self.resident, self.before = phase, reset_peak(), marks()

    def _next(self, phase: str) -> None:
        now = {name: value - self.before[name] for name, value in marks().items()}
        self.phases[self.phase] = now | {"peak_bytes": memory("VmHWM"), "resident_bytes": self.resident}
        self._start(phase)


def worker_peak(home: Path, step: str, since: float) -> int:
    """The most memory that a worker of the step said it held, of the records written since then; 0 without any."""
    records = [path for path in (home / "work" / "shards" / step).glob("*/record.json") if path.stat().st_mtime > since]
    return max((json.loads(path.read_bytes())["peak_bytes"] for path in records), default=0)


def make(asset: str, snapshot: str | None) -> dict[str, Any]:
    """Makes an asset (of a snapshot) in the home that the environment names. Raises RunFailed."""
    import dagster as dg

    from orchestration import graph
    from orchestration.home import alone, prepare
    from orchestration.runs import execute

    home, watch, began = prepare(), Watch(), time.time()
    with alone(home), dg.DagsterInstance.get() as instance:
        if snapshot:
            instance.add_dynamic_partitions("snapshot", [snapshot])
        job = graph.PAGES_JOB if snapshot else graph.MODELS_JOB
        execute(graph.build(watch), instance, job, [asset], by="demo", partition=snapshot)
    return watch.stop() | {"worker_peak_bytes": worker_peak(home.root, asset, began)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale_step", description=__doc__)
    parser.add_argument("asset")
    parser.add_argument("--snapshot")
    chosen = parser.parse_args()
    print(json.dumps(make(chosen.asset, chosen.snapshot)))


if __name__ == "__main__":
    main()
