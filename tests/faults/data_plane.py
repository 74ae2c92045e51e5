"""The data plane on a small crawl of real pages, in processes that can be killed: what fault rows run.

Processes come from a fork server that has imported everything and used nothing, so that a run costs a second and a kill
hits the work and not the start. In them the jobs run in the process itself: killing it kills driver and worker at once.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import time
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil

from assets.lake import Lake
from assets.policy import load
from assets.steps import funnel, pipeline
from assets.steps.jobs import HEARTBEAT, ShardRecord, finished
from assets.steps.worker import STEPS
from orchestration.engines.base import prepare
from tests.assets.takedown_crawl import pages, real_texts, write_wet

for _module in ("deltalake", *STEPS.values()):
    import_module(_module)

FILES = ("one.warc.wet", "two.warc.wet")
POLICY = "fineweb"
BEFORE = ("crawl_manifest", "documents", "rejects", "record_counts")
AFTER = ("annotations", "decisions", "signatures", "duplicate_clusters", "corpus")
LOG_ENTRY_BEING_WRITTEN = re.compile(r"\.json#\d+")  # as the store library that Delta writes with calls it
TEMPORARY = (".part-*", ".scratch-*", ".record-*", ".job-*", "tmp*", ".tmp*", "*.tmp")


def write_crawl(folder: Path, bundled_crawl: Path) -> Path:
    """A crawl root of two files: nine real pages that FineWeb's rules keep, three of them copies or nearly."""
    for name, records in zip(FILES, pages(real_texts(bundled_crawl)), strict=True):
        write_wet(folder / name, records)
    return folder


class Here:
    """An engine without processes of its own."""

    peak_worker_bytes = 0

    def run(self, step, jobs, on_progress=None):
        return [finished(job) or self._done(job) for job in jobs]

    def _done(self, job):
        folder = prepare(job).parent
        parts, counts = import_module(STEPS[job.step]).run(job, (folder / HEARTBEAT).touch)
        record = ShardRecord(job.digest, job.step, job.shard, parts, counts)
        record.write(folder)
        return record


def make(lake: Lake, crawl: Path, engine=None, cache: Path | None = None, policy: str = POLICY) -> dict:
    """All tables; data versions, and the accounting: it raises AccountingError unless every record is somewhere."""
    link = lake.local / "cache"
    if cache and not link.is_symlink():
        lake.local.mkdir(parents=True, exist_ok=True)
        link.symlink_to(cache, target_is_directory=True)
    pipeline.run_stages(lake, engine or Here(), str(crawl), list(FILES), load(policy))
    counted = funnel.count(lake, load(policy), pipeline.SNAPSHOT)
    counted.check()
    return {"versions": versions(lake), "records": counted.records, "kept": counted.kept, "dropped": counted.dropped}


def versions(lake: Lake) -> dict[str, str]:
    """The data version of each table that is there, each file of it read and found whole."""
    there = [name for name in (*BEFORE, *AFTER) if lake.exists(name, snapshot=pipeline.SNAPSHOT)]
    lake.verify(*there, snapshot=pipeline.SNAPSHOT)
    for name in there:
        lake.scan(name, snapshot=pipeline.SNAPSHOT).collect()
    return {name: lake.version_of(name, snapshot=pipeline.SNAPSHOT) for name in there}


def left_over(home: Path) -> list[str]:
    """What nobody will come back for below a home: temporaries, and part files that no table names.

    The copy of a log entry that a killed commit was writing may stay: it holds no row, nobody can tell whether another
    process is writing it, and the next takedown, which has the home to itself, sweeps it.
    """
    found = {path for pattern in TEMPORARY for path in home.rglob(pattern)}
    lake = Lake(home)
    for table in (path.name for path in (home / "lake").iterdir()):
        named = {part.path for part in lake.parts(table)} if lake.exists(table) else set()
        root = home / "lake" / table
        found |= {path for path in root.rglob("*.parquet") if str(path.relative_to(root)) not in named}
        log = {path for path in root.glob("_delta_log/*") if path.suffix not in (".json", ".parquet", "")}
        found |= {path for path in log if not LOG_ENTRY_BEING_WRITTEN.fullmatch(path.suffix)}
    return sorted(str(path.relative_to(home)) for path in found)


def run_here(home: str, crawl: str, cache: str, answer: str) -> None:
    """The body of a process: says first what a reader finds, then makes everything and says what was made."""
    lake, place = Lake(home), Path(answer)
    said: dict = {"found": versions(lake)}
    place.write_text(json.dumps(said))
    said |= make(lake, Path(crawl), cache=Path(cache))
    said["left_over"], said["cpu_s"] = left_over(Path(home)), time.process_time()
    place.with_suffix(".new").write_text(json.dumps(said))
    os.replace(place.with_suffix(".new"), place)


class Runs:
    """Starts such processes; `root` holds their answers."""

    def __init__(self, root: Path, crawl: Path, cache: Path) -> None:
        self.root, self.crawl, self.cache, self.number = root, crawl, cache, 0
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__])

    def start(self, home: Path) -> tuple[ForkServerProcess, Path]:
        self.number += 1
        answer = self.root / f"answer-{self.number}.json"
        process = self.context.Process(target=run_here, args=(str(home), str(self.crawl), str(self.cache), str(answer)))
        process.start()
        return process, answer

    def to_the_end(self, home: Path) -> dict:
        """What an undisturbed run says."""
        process, answer = self.start(home)
        process.join()
        assert process.exitcode == 0, f"the run ended with {process.exitcode}"
        return json.loads(answer.read_text())

    def killed(self, home: Path, after_cpu_s: float) -> tuple[bool, dict]:
        """Kills a run when it has used so much CPU time: whether that came before its end, and what it had said."""
        process, answer = self.start(home)
        watched = psutil.Process(process.pid)
        try:
            while sum(watched.cpu_times()[:2]) < after_cpu_s and process.is_alive():
                time.sleep(0.001)
            os.kill(process.pid or 0, signal.SIGKILL)
        except (psutil.NoSuchProcess, ProcessLookupError):
            pass
        process.join()
        said = answer.read_text() if answer.exists() else ""
        return process.exitcode == -signal.SIGKILL, json.loads(said or "{}")
