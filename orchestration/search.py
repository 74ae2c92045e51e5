"""`stemma search`: pages by their words, host, language, verdict, reason and any score, kept and dropped alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.options import HomeOption, Json

if TYPE_CHECKING:
    from orchestration.searching import Found

QUERY = 'Words, "a phrase", host:example.org, url:path, -without, one OR other; "" for all pages.'


def search(
    query: Annotated[str, typer.Argument(help=QUERY)],
    language: Annotated[list[str] | None, typer.Option(help="A language, as eng_Latn; may be given again.")] = None,
    snapshot: Annotated[list[str] | None, typer.Option(help="A snapshot; may be given again.")] = None,
    host: Annotated[str, typer.Option(help="A host, or a domain above it.")] = "",
    verdict: Annotated[str, typer.Option(help="kept, dropped or undecided.")] = "",
    reason: Annotated[list[str] | None, typer.Option(help="Rule or kind of duplicate; may be given again.")] = None,
    score: Annotated[list[str] | None, typer.Option(help="As 'n_words>=50'; may be given again.")] = None,
    sort: Annotated[str, typer.Option(help="relevance, doc_id or a score.")] = "",
    ascending: Annotated[bool, typer.Option("--ascending", help="The least first.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Pages shown; all are counted.")] = 10,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Find pages, kept and dropped alike: by their words and by everything that was measured of them."""
    from dataclasses import replace

    from assets.searching.slices import compared, slice_of
    from orchestration.home import locate, require
    from orchestration.options import emit
    from orchestration.pages.shelf import Shelf
    from orchestration.searching import Searcher, pieces_of

    place = require(locate(home))
    asked = [("q", query), ("host", host), ("verdict", verdict), ("sort", sort), ("order", "asc" if ascending else "")]
    for name, values in (("language", language), ("snapshot", snapshot), ("reason", reason)):
        asked += [(name, value) for value in values or ()]
    wanted = replace(slice_of(asked), ranges=tuple(compared(one) for one in score or ()))
    shelf = Shelf(place.root)
    found = Searcher(shelf).search(wanted)
    rows = found.sliced.rows(0, limit)
    shown = [
        {**row, "pieces": [text[piece.start : piece.end] for piece in pieces]}
        for row, (text, pieces) in zip(_columns(found, rows), pieces_of(shelf.open(), rows, found.query), strict=True)
    ]
    if as_json:
        ignored = list(found.query.ignored) if found.query else []
        counts = {name: dict(values) for name, values in found.sliced.facets.items()}
        said = {"total": found.sliced.total, "ignored": ignored, "not_indexed": found.absent}
        emit({**said, "counts": counts, "pages": shown})
    else:
        show(found, shown)


def _columns(found: Found, rows: Any) -> list[dict[str, Any]]:
    """What is told of each page: where it is from, what became of it, and the scores that were asked about."""
    from assets.searching.slices import exported

    return rows.select("url", "host").hstack(exported(rows, found.wanted)).to_dicts()


def show(found: Found, pages: list[dict[str, Any]]) -> None:
    """The answer for people. URLs and texts are strangers' words: nothing in them is obeyed."""
    from rich.console import Console
    from rich.markup import escape

    from assets.safe_text import shown
    from orchestration.searching import MAKES_INDEX

    console = Console()
    console.print(f"{found.sliced.total:,} pages of {found.sliced.hosts:,} hosts", highlight=False)
    for name in ("verdict", "reason", "language"):
        if counts := found.sliced.facets[name][:10]:
            told = ", ".join(f"{shown(str(value))} {n:,}" for value, n in counts)
            console.print(f"[dim]{name}:[/] {escape(told)}", highlight=False, soft_wrap=True)
    for page in pages:
        score = "" if page["score"] is None else f" ({page['score']:g}, threshold {page['threshold']:g})"
        of = f"{page['outcome']}{score} · {page['language']} · {page['snapshot']}"
        console.print(f"\n{page['doc_id']} [dim]{escape(shown(of))}[/]", highlight=False, soft_wrap=True)
        console.print(f"  {escape(shown(page['url'] or ''))}", highlight=False, soft_wrap=True)
        for piece in page["pieces"]:
            console.print(f"  [dim]{escape(shown(' '.join(piece.split()), 400))}[/]", highlight=False, soft_wrap=True)
    if found.query is not None and found.query.ignored:
        console.print(f"\nwithout a word, so not looked for: {escape(shown(' '.join(found.query.ignored)))}")
    if found.absent:
        names = escape(shown(", ".join(found.absent)))
        console.print(f"\nnot all pages of {names} are indexed: `{MAKES_INDEX}` makes search_index", highlight=False)
