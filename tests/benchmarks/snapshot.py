"""What a snapshot of any size needs on N nodes, from two sizes that were measured: `python -m tests.benchmarks.snapshot
SMALL LARGE --pages 3e9 --nodes 1 100 1000 --cores 16`, where SMALL and LARGE are folders of the scale bench.

A figure f(n) is taken as a + b n through the two measured points; b, the cost of one more page, is what counts at
sizes where a is nothing. Work of workers is shared by all cores; the parent's is one process, on one node, and its
memory is b pages. What is said beyond the larger size is extrapolated, and holds only where the exponent is near 1.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.scale import cpu_of, table_bytes

S3_PUT_USD, S3_GET_USD, S3_GB_MONTH_USD = 5e-6, 4e-7, 0.023  # us-east-1, as assets/crawl_index/prices.yaml for reads
PAGES_OF_A_FILE, FILE_BYTES = 33_000, 1.0e9  # a WARC file of Common Crawl: 90,000 files, 3 * 10^9 pages, 90 TB


@dataclass(frozen=True)
class Slope:
    """What one more page costs an asset: CPU seconds of workers, of the parent and of its checks; bytes of memory."""

    asset: str
    workers_s: float
    parent_s: float
    checks_s: float
    parent_bytes: float
    checks_bytes: float
    worker_bytes: int


def read(folder: Path) -> dict[str, dict]:
    """The lines of a size, by asset."""
    return {line["asset"]: line for line in map(json.loads, (folder / "steps.jsonl").open())}


def slopes(small: dict[str, dict], large: dict[str, dict]) -> list[Slope]:
    """The slope of every asset between two sizes."""
    made = []
    for asset, line in large.items():
        before = small[asset]
        more = line["documents"] - before["documents"]
        cpu = {part: (seconds - cpu_of(before)[part]) / more for part, seconds in cpu_of(line).items()}
        grown = {p: (line[p]["peak_bytes"] - before[p]["peak_bytes"]) / more for p in ("body", "checks")}
        made.append(
            Slope(
                asset,
                max(0.0, cpu["workers"]),
                max(0.0, cpu["parent"]),
                max(0.0, cpu["checks"]),
                max(0.0, grown["body"]),
                max(0.0, grown["checks"]),
                line["worker_peak_bytes"],
            )
        )
    return made


def show(found: list[Slope], pages: float, nodes: list[int], cores: int) -> None:
    """Hours of every asset on so many nodes, and what its parent holds."""
    table = Table(title=f"{pages:.3g} pages, nodes of {cores} cores; hours = slope x pages / cores / 3600")
    for column in ("asset", "workers ms/page", *(f"{n} nodes, h" for n in nodes), "parent + checks, h", "parent, GB"):
        table.add_column(column, justify="left" if column == "asset" else "right")
    for one in found:
        shared = [one.workers_s * pages / (n * cores) / 3600 for n in nodes]
        single = (one.parent_s + one.checks_s) * pages / 3600
        held = max(one.parent_bytes, one.checks_bytes) * pages / 1e9
        figures = [1000 * one.workers_s, *shared, single, held]
        table.add_row(one.asset, *(f"{figure:,.3g}" for figure in figures))
    whole = sum(one.workers_s for one in found)
    total = [1000 * whole, *(whole * pages / (n * cores) / 3600 for n in nodes)]
    alone = sum(one.parent_s + one.checks_s for one in found) * pages / 3600
    table.add_row("all", *(f"{figure:,.3g}" for figure in total), f"{alone:,.3g}", "")
    Console(width=160).print(table)


def stored(home: Path, documents: int, pages: float) -> None:
    """Bytes of every table and index, and what keeping and moving them costs in a bucket."""
    table = Table(title="tables and indexes")
    for column in ("what", "B/page", "TB", "$ a month"):
        table.add_column(column, justify="left" if column == "what" else "right")
    sizes = table_bytes(home, documents)
    for name, size in [*sizes.items(), ("all", sum(sizes.values()))]:
        table.add_row(
            name, f"{size:,.1f}", f"{size * pages / 1e12:,.3g}", f"{size * pages / 1e9 * S3_GB_MONTH_USD:,.0f}"
        )
    Console(width=160).print(table)
    files = pages / PAGES_OF_A_FILE
    parts = files * len([name for name in sizes if not name.startswith(("index", "work", "dagster"))])
    Console(width=160).print(
        f"{files:,.0f} WARC files, {files * FILE_BYTES / 1e12:,.0f} TB to read; about {parts:,.0f} part files:"
        f" ${parts * S3_PUT_USD:,.0f} of PUT, ${4 * parts * S3_GET_USD:,.0f} of GET where each is read four times",
        highlight=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.snapshot", description=__doc__)
    parser.add_argument("small", type=Path)
    parser.add_argument("large", type=Path)
    parser.add_argument("--pages", type=float, default=3e9)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--cores", type=int, default=16)
    chosen = parser.parse_args()
    large = read(chosen.large)
    show(slopes(read(chosen.small), large), chosen.pages, chosen.nodes, chosen.cores)
    stored(chosen.large / "home", next(iter(large.values()))["documents"], chosen.pages)


if __name__ == "__main__":
    main()
