"""How commands speak: live progress on a terminal, tables and figures for people, one JSON document for machines."""

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from assets.resources import Progress
from orchestration.lineage import Node, State
from orchestration.options import emit as emit

NOTE_CHARS = 60
CAUSES_SHOWN = 3


class LiveProgress(Progress):
    """One bar for the asset at work, and a line for each that is made; lines only where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> "LiveProgress":
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def begin(self, asset: str, partition: str | None) -> None:
        label = f"{asset} [cyan]{partition}[/]" if partition else asset
        self.tasks[asset] = self.bars.add_task(label, total=None, note="")

    def advance(self, asset: str, done: int, total: int | None, note: str) -> None:
        if asset in self.tasks:
            self.bars.update(self.tasks[asset], completed=done, total=total, note=note[:NOTE_CHARS])

    def end(self, asset: str, seconds: float) -> None:
        if asset not in self.tasks:
            return
        task = self.tasks.pop(asset)
        label = next(one.description for one in self.bars.tasks if one.id == task)
        self.bars.remove_task(task)
        self.console.print(f"[green]✓[/] {label} [dim]{seconds:.1f} s[/]", highlight=False)


def live_progress(as_json: bool) -> LiveProgress:
    """Progress on stderr, so that stdout stays clean; silent for machines."""
    return LiveProgress(Console(stderr=True, quiet=as_json))


def assets_table(rows: list[dict[str, Any]]) -> Table:
    """The demo's last table: asset, rows, tokens, bytes, seconds."""
    table = Table(title="What was made", title_justify="left")
    table.add_column("asset")
    for name in ("rows", "tokens", "bytes", "seconds"):
        table.add_column(name, justify="right")
    for row in rows:
        name = row["asset"] if row["status"] == "current" else f"{row['asset']} [red]({row['status']})[/]"
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
        table.add_row(name, *(number(row[key]) for key in ("rows", "tokens", "bytes")), seconds)
    return table


def number(value: float | None) -> str:
    """An integer with thousands separators; empty for None."""
    return "" if value is None else f"{int(value):,}"


def figures_table(figures: dict[str, Any]) -> Table:
    """The four figures, each beside its baseline."""
    table = Table(title="The four figures", title_justify="left")
    for column in ("figure", "value", "beside it"):
        table.add_column(column)
    bits = figures["bits_per_byte"]
    table.add_row(
        "bits per byte, held-out pages",
        f"{bits['model']:.3f}",
        f"uniform {bits['uniform']:.3f} · unigram {bits['unigram']:.3f}",
    )
    for name, label in (("sft_accuracy", "SFT accuracy, held-out tasks"), ("rl_accuracy", "RL accuracy, same tasks")):
        one = figures[name]
        interval = f"95% {one['low']:.1%} to {one['high']:.1%} of {one['n']} tasks"
        table.add_row(label, f"{one['value']:.1%}", f"random {one['baseline_random']:.1%} · {interval}")
    vendi = figures["g_vendi"]
    beside = f"random choice of {vendi['n']} {vendi['random']:.2f} · ceiling {vendi['ceiling']:.1f}"
    table.add_row("G-Vendi of the selected examples", f"{vendi['selected']:.2f}", beside)
    return table


def show_states(states: Mapping[Node, State], sent: int | None) -> None:
    """`stemma status` for people: what is not current and why; one line when all is."""
    console = Console()
    if sent is not None:
        console.print(f"{sent} spooled runs sent to MLflow", highlight=False)
    stale = [state for state in states.values() if state.status != "current"]
    table = Table(title=f"{len(stale)} of {len(states)} are not current", title_justify="left")
    for column in ("asset", "status", "because of"):
        table.add_column(column, overflow="fold")
    for state in stale:
        shown = [str(cause) for cause in state.causes[:CAUSES_SHOWN]]
        more = len(state.causes) - len(shown)
        causes = "\n".join([*shown, f"and {more} more"] if more else shown)
        causes = causes or "its folder is gone; what was made from it stays"
        table.add_row(escape(str(state.node)), state.status, escape(causes))  # [partition] is no markup
    console.print(table if stale else f"all {len(states)} assets and partitions are current")


def show_night(report: Mapping[str, Any], cost: Mapping[str, Any], folder: Any) -> None:
    """`stemma nightly` for people: what came and went in a line, what to look at, and where the page lies."""
    from assets.refresh_page import headline

    console, spent = Console(), cost["total"]
    corpus = report["corpus"]
    console.print(f"night {report['night']}: {headline(report)}", highlight=False)
    console.print(f"corpus: {corpus['kept']:,} documents in {corpus['snapshots']} snapshots", highlight=False)
    for one in report["noticed"]:
        console.print(f"[red]![/] {escape(one)}", highlight=False)
    moved = f"{spent['moved_bytes']:,.0f} bytes moved, {spent['usd']:.2f} USD"
    console.print(f"{spent['cpu_s'] + cost['night']['cpu_s']:.1f} CPU s, {moved}; {folder}/README.md", highlight=False)


class Stopwatch:
    """Wall seconds since it was made."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started
