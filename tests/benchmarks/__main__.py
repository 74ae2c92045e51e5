"""Ours against the peers, on the same pages in one process: `stemma bench [NAME…]`, `--json` for rows.

Each name is a module beside this one with `rows() -> list[dict]` (timing.row); those in WITH_PAGES take the WARC files
to measure on, those in WITH_DOCUMENTS a size. A new bench adds its name to BENCHES.
"""

import argparse
import importlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.timing import floor_fraction

BENCHES = [
    "corpus",
    "crawl",
    "decode",
    "dedup",
    "device",
    "differences",
    "diversity",
    "extractor",
    "incremental",
    "language",
    "memory",
    "minhash",
    "pages",
    "parity",
    "pii",
    "policies",
    "reach",
    "recall",
    "scale",
    "tokenization",
    "urls",
]
WITH_PAGES = ["corpus", "parity"]
WITH_DOCUMENTS = ["pages", "scale"]
# the speed table: asking for the first asks for the others too
WITH = {"corpus": ["extractor", "minhash", "urls", "memory", "dedup", "tokenization", "policies"]}
PEERS = ("warcio", "magic", "fasteners")  # modules that the extra "bench" brings
COLUMNS = ("bench", "row", "unit", "ours", "peer", "peer_name", "ratio", "floor", "floor_name")


def main() -> int:
    """Entry point; 2 for names and files that there are none of."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", default=BENCHES, help=f"which benches: {', '.join(BENCHES)}")
    parser.add_argument("--json", action="store_true", help="print rows {bench, row, unit, ours, peer, …} as JSON")
    parser.add_argument("--pages", nargs="+", type=Path, help=f"WARC files, for {', '.join(WITH_PAGES)}")
    parser.add_argument("--documents", type=int, help=f"size of the generated crawl, for {', '.join(WITH_DOCUMENTS)}")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.name if name not in BENCHES]:
        return refuse(f"no bench {', '.join(unknown)}: the benches are {', '.join(BENCHES)}")
    if absent := [str(path) for path in chosen.pages or [] if not path.is_file()]:
        return refuse(f"no such file: {', '.join(absent)}")
    if chosen.pages and (others := [name for name in chosen.name if name not in WITH_PAGES]):
        return refuse(f"{', '.join(others)} takes no --pages: {', '.join(WITH_PAGES)} does")
    if chosen.documents and (others := [name for name in chosen.name if name not in WITH_DOCUMENTS]):
        return refuse(f"{', '.join(others)} takes no --documents: {', '.join(WITH_DOCUMENTS)} does")
    if missing := [module for module in PEERS if find_spec(module) is None]:
        return refuse(f"the peers are not installed ({', '.join(missing)}): run `pip install -e '.[bench]'`")
    rows = []
    for name in expanded(chosen.name):
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        pages = {"pages": chosen.pages} if name in WITH_PAGES else {}
        size = {"documents": chosen.documents} if name in WITH_DOCUMENTS and chosen.documents else {}
        rows += importlib.import_module(f"tests.benchmarks.{name}").rows(**pages, **size)
    if chosen.json:
        print(json.dumps(rows, indent=1))
    else:
        show(rows)
    return 0


def expanded(names: list[str]) -> list[str]:
    """The names, each followed by those that it stands for, every one once."""
    wanted = [other for name in names for other in (name, *WITH.get(name, ())) if other in BENCHES]
    return list(dict.fromkeys(wanted))


def refuse(message: str) -> int:
    """Says in one line why nothing is measured."""
    print(f"stemma bench: {message}", file=sys.stderr)
    return 2


def show(rows: list[dict]) -> None:
    """The rows as a table, with the fraction of the floor that each reaches."""
    table = Table(title="ratio > 1: ours is better; floor: what no implementation on this machine can beat")
    numbers = ("ours", "peer", "ratio", "floor", "of floor")
    for column in (*COLUMNS[:-1], "of floor", COLUMNS[-1]):
        table.add_column(column, justify="right" if column in numbers else "left")
    for row in rows:
        fraction = floor_fraction(row)
        cells = [shown(row[column]) for column in COLUMNS]
        table.add_row(*cells[:-1], "" if fraction is None else f"{fraction:.0%}", cells[-1])
    Console(width=170).print(table)


def shown(value: object) -> str:
    """A cell: three significant digits of a number, nothing for nothing."""
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
