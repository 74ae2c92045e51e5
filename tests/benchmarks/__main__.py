"""Ours against the peers, on the same pages in one process: `make bench [NAME=corpus]`, `--json` for rows."""

import argparse
import importlib
import json

from rich.console import Console
from rich.table import Table

BENCHES = ["corpus", "diversity"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", default=BENCHES, help=f"which benches: {', '.join(BENCHES)}")
    parser.add_argument("--json", action="store_true", help="print rows {bench, row, unit, ours, peer, …} as JSON")
    chosen = parser.parse_args()
    rows = [row for name in chosen.name for row in importlib.import_module(f"tests.benchmarks.{name}").rows()]
    if chosen.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(title="ratio > 1: ours is faster; floor: what no implementation on this machine can beat")
    for column in ("bench", "row", "unit", "ours", "peer", "peer_name", "ratio", "floor", "floor_name"):
        table.add_column(column, justify="right" if column in ("ours", "peer", "ratio", "floor") else "left")
    for row in rows:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v or "") for v in row.values()))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
