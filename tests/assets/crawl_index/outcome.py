"""What a fetch has made, seen from outside: visible files, records that an interrupted one holds, bytes moved twice."""

import hashlib
from pathlib import Path

import polars as pl

from assets.crawl_index.journal import Held, Journal
from assets.crawl_index.plan import Plan


def visible(out: Path) -> dict[str, str]:
    """What readers of the crawl can see, with its sha256."""
    if not out.is_dir():
        return {}
    found = [path for path in out.rglob("*") if path.is_file() and ".fetch" not in path.parts]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def warcs(out: Path) -> dict[str, str]:
    return {name: digest for name, digest in visible(out).items() if name.endswith(".warc.gz")}


def held_spans(plan: Plan, out: Path) -> set[tuple[str, int, int]]:
    """(WARC file, start, end) of the records that an interrupted fetch holds."""
    spans = set()
    for state in (out / ".fetch").iterdir():
        for log in state.glob("*.journal"):
            journal = Journal(state, int(log.stem), plan.records.filter(pl.col("output") == int(log.stem)).height)
            journal.close()
            for number, one in journal.settled.items():
                if isinstance(one, Held):
                    name, start, length = plan.records.select("warc_filename", "warc_offset", "warc_length").row(number)
                    spans.add((name, start, start + length))
    return spans


def moved_again(held: set[tuple[str, int, int]], served: list[tuple[str, int, int]]) -> list:
    """Spans that were sent and touch a record that was held."""
    return [
        (name, start, end)
        for name, start, end in served
        for other, first, last in held
        if name == other and start < last and first < end
    ]
