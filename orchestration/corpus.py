"""`stemma corpus`: the data plane on anyone's WARC files, with progress, throughput and peak memory."""

import threading
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from assets.steps.funnel import Funnel, rows
from orchestration import display
from orchestration.engines.choose import engine as chosen_engine
from orchestration.home import locate
from orchestration.inputs import gathered


def corpus_command(warc: list[Path], out: Path, policy: str, workers: int | None, as_json: bool) -> None:
    """Runs it and says what it did. InputMissing, BadWacz, PolicyError, OutputTaken come before anything is written."""
    from assets.steps.pipeline import run_corpus

    watch = display.Stopwatch()
    with display.live_progress(as_json) as progress:

        def show(stage: str, done: int, jobs: int, what: str) -> None:
            if stage not in progress.tasks:
                progress.begin(stage, None)
            progress.advance(stage, done, jobs, what)

        cache = locate().root / "cache"
        engine = chosen_engine(workers=workers)
        with gathered(warc, out) as files, PeakMemory() as memory:
            funnel = run_corpus(files, out, engine, policy, show, cache=cache)
    seconds, peak = watch.seconds, memory.bytes
    speed = {
        "seconds": seconds,
        "pages_per_s": funnel.pages / seconds,
        "payload_bytes_per_s": funnel.payload_bytes / seconds,
        "peak_memory_bytes": peak,
        "peak_worker_bytes": engine.peak_worker_bytes,
    }
    if as_json:
        display.emit({**funnel.to_json(), **speed, "out": str(out)})
    else:
        show_funnel(funnel, out)
        Console().print(
            f"{seconds:.1f} s, {speed['pages_per_s']:.1f} pages/s, {speed['payload_bytes_per_s'] / 1e6:.2f} MB/s of"
            f" payload, peak memory {peak / 1e6:.0f} MB in all, {engine.peak_worker_bytes / 1e6:.0f} MB a worker",
            highlight=False,
        )


def show_funnel(funnel: Funnel, out: Path) -> None:
    """The funnel as a table."""
    Console().print(f"{out}: {funnel.records:,} records under {funnel.policy}", highlight=False, soft_wrap=True)
    table = Table()
    table.add_column("pages")
    table.add_column("", justify="right")
    for what, pages in rows(funnel):
        table.add_row(what, f"{pages:,}")
    Console().print(table)
    rejected = ", ".join(f"{reason} {number}" for reason, number in funnel.rejects.items())
    if rejected:
        Console().print(f"unreadable records: {rejected} (see {out / 'rejects'})", highlight=False)


class PeakMemory:
    """The most memory that this process and its workers held together, in bytes: shared pages count once (PSS).

    Looked at every `EVERY_S`, so a shorter peak can escape it.
    """

    EVERY_S = 0.25

    def __init__(self) -> None:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory", daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        here = psutil.Process()
        while not self._ended.wait(self.EVERY_S):
            self.bytes = max(self.bytes, sum(held(one) for one in [here, *here.children(recursive=True)]))


def held(process: psutil.Process) -> int:
    """Proportional set size where the system tells it, else resident size; 0 for a process that just ended."""
    try:
        full = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return int(getattr(full, "pss", full.rss))
