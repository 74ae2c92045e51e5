"""A difference of two corpora as tables for people. URLs and hosts are strangers' words: nothing in them is obeyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assets.difference_report import because
from assets.safe_text import shown
from orchestration.display import number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from assets.differences import Count, Difference, Only

ROWS_SHOWN = 12


def show(found: Difference) -> None:
    """Both sides, why pages are only in one of them, and where the two differ most."""
    console, a, b = Console(), found.a, found.b
    table = Table(title_justify="left")
    for column in ("", "A", "B"):
        table.add_column(column, overflow="fold", justify="right" if column else "left")
    table.add_row("what", *(escape(shown(f"{one.kind} {one.name}")) for one in (a, b)))
    table.add_row("documents", number(a.count.documents), number(b.count.documents))
    table.add_row("bytes of text", number(a.count.bytes), number(b.count.bytes))
    if a.tokens is not None or b.tokens is not None:
        table.add_row("tokens", number(a.tokens), number(b.tokens))
    table.add_row("only here", number(found.only_a.count.documents), number(found.only_b.count.documents))
    console.print(table)
    texts = f", {found.changed.documents:,} of them with another text" if found.texts_compared else ""
    console.print(f"{found.common:,} in both{texts}", highlight=False)
    if found.is_empty:
        console.print("they hold the same pages" + (" with the same texts" if found.texts_compared else ""))
    for mine, other, only in (("A", "B", found.only_a), ("B", "A", found.only_b)):
        if only.count.documents:
            _show_only(console, f"only in {mine}, by why not in {other}", only)
    if a.funnel or b.funnel:
        names = [name for name in dict.fromkeys([*(a.funnel or {}), *(b.funnel or {})]) if name != "kept"]
        one, two = ((lambda name, side=side: side.funnel.get(name, 0) if side.funnel else None) for side in (a, b))
        rows = [(name, one(name), two(name)) for name in [*names, "kept"]]
        _two(console, "funnels", "reason", rows)
    for title, what, one, two in (
        ("snapshots", "snapshot", a.snapshots, b.snapshots),
        ("languages", "language", a.languages, b.languages),
    ):
        _two(console, title, what, _pairs(one, two))
    hosts = [(shown(host), one.documents, two.documents) for host, one, two in found.hosts[:ROWS_SHOWN]]
    _two(console, f"of {found.n_hosts:,} hosts those that differ most", "host", hosts)


def _show_only(console: Console, title: str, only: Only) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("reason", "documents", "bytes", "such as"):
        table.add_column(column, overflow="fold", justify="right" if column in ("documents", "bytes") else "left")
    for name, count in only.reasons.items():
        some = [row for row in only.samples if row["reason"] == name]
        pages = "\n".join(f"{shown(row['url'] or row['doc_id'], 80)}: {shown(because(row))}" for row in some)
        table.add_row(escape(shown(name)), number(count.documents), number(count.bytes), escape(pages))
    console.print(table)


def _two(console: Console, title: str, what: str, rows: Iterable[tuple[str, int | None, int | None]]) -> None:
    """A table of a number for each side, and the change where both are known; nothing without rows."""
    table = Table(title=title, title_justify="left")
    table.add_column(what, overflow="fold")
    for column in ("A", "B", "change"):
        table.add_column(column, justify="right")
    for name, one, two in rows:
        moved = "" if one is None or two is None or one == two else f"{two - one:+,}"
        table.add_row(escape(shown(name)), number(one), number(two), moved)
    if table.row_count:
        console.print(table)


def _pairs(one: dict[str, Count], two: dict[str, Count]) -> list[tuple[str, int, int]]:
    """Groups by what either side has of them, greatest first."""
    counts = {
        name: tuple(side[name].documents if name in side else 0 for side in (one, two)) for name in {**one, **two}
    }
    ordered = sorted(counts, key=lambda name: (-max(counts[name]), name))
    return [(name, counts[name][0], counts[name][1]) for name in ordered[:ROWS_SHOWN]]
