"""`stemma corpus`: the data plane on anyone's WARC files, with progress, throughput and peak memory."""

import resource
from pathlib import Path

from rich.console import Console
from rich.table import Table

from assets.crawl import SUFFIXES
from assets.steps.funnel import Funnel, rows
from orchestration import display
from orchestration.engines.local import LocalEngine
from orchestration.home import locate


def corpus_command(warc: list[Path], out: Path, policy: str, workers: int | None, as_json: bool) -> None:
    """Runs it and says what it did. Raises InputMissing, PolicyError, OutputTaken before anything is written."""
    from assets.steps.pipeline import run_corpus

    watch = display.Stopwatch()
    with display.live_progress(as_json) as progress:

        def show(stage: str, done: int, jobs: int, what: str) -> None:
            if stage not in progress.tasks:
                progress.begin(stage, None)
            progress.advance(stage, done, jobs, what)

        cache = locate().root / "cache"
        funnel = run_corpus(expand(warc), out, LocalEngine(workers), policy, show, cache=cache)
    seconds, peak = watch.seconds, peak_bytes()
    speed = {
        "seconds": seconds,
        "pages_per_s": funnel.pages / seconds,
        "payload_bytes_per_s": funnel.payload_bytes / seconds,
        "peak_memory_bytes": peak,
    }
    if as_json:
        display.emit({**funnel.to_json(), **speed, "out": str(out)})
    else:
        show_funnel(funnel, out)
        Console().print(
            f"{seconds:.1f} s, {speed['pages_per_s']:.1f} pages/s, {speed['payload_bytes_per_s'] / 1e6:.2f} MB/s of"
            f" payload, peak memory of one process {peak / 1e6:.0f} MB",
            highlight=False,
        )


def expand(paths: list[Path]) -> list[Path]:
    """Files as they are; of folders every WARC and WET file below them."""
    return [
        file
        for path in paths
        for file in (sorted(p for p in path.rglob("*") if p.name.endswith(SUFFIXES)) if path.is_dir() else [path])
    ]


def show_funnel(funnel: Funnel, out: Path) -> None:
    """The funnel as a table."""
    table = Table(title=f"{out}: {funnel.records:,} records under {funnel.policy}", title_justify="left")
    table.add_column("pages")
    table.add_column("", justify="right")
    for what, pages in rows(funnel):
        table.add_row(what, f"{pages:,}")
    Console().print(table)
    rejected = ", ".join(f"{reason} {number}" for reason, number in funnel.rejects.items())
    if rejected:
        Console().print(f"unreadable records: {rejected} (see {out / 'rejects'})", highlight=False)


def peak_bytes() -> int:
    """The largest resident size that this process or one of its ended workers had."""
    return 1024 * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
