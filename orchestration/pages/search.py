"""`/search`: pages by words, host, address, language, verdict, reason and any score, kept and dropped alike.

The address is a slice (assets/searching/slices.py): the same address under `/labels` labels its pages together, under
`/search.csv` and `/search.jsonl` it is a list of their ids and scores. Counts are of all pages that are meant, always.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from assets.searching.query import QueryError
from assets.searching.slices import NAME, RELEVANCE, VERDICTS, BadSlice, Slice, exported, scores, slice_of
from assets.searching.snippets import Piece
from orchestration.pages.hostile import Shown, Span, shown
from orchestration.pages.site import Pages, Site, is_partial
from orchestration.searching import MAKES_INDEX, Found, NotIndexed, Searcher, pieces_of, without_text

router = APIRouter()
PAGE = 10  # results on one
LISTED = 6  # values of a facet that are shown at once
MORE = 200  # and so many when it is opened
FACETS = (
    ("verdict", "Verdict"),
    ("reason", "Reason"),
    ("language", "Language"),
    ("snapshot", "Snapshot"),
    ("host", "Host"),
)


@dataclass(frozen=True)
class Hit:
    """One result: its row, the numbers that the slice names, and the pieces of its text to show."""

    row: dict[str, Any]
    numbers: dict[str, float | None]
    pieces: list[Shown]


@dataclass(frozen=True)
class Choice:
    """A value of a facet: pages that have it, the address with it chosen (or not any more), and whether it is."""

    value: str
    pages: int
    address: str
    chosen: bool


Number = Annotated[int, Query(ge=1, le=10**7)]


@router.get("/search")
def search(request: Request, site: Pages, page: Number = 1) -> Response:
    """The form, what is counted, and one page of results."""
    try:
        wanted = slice_of(request.query_params.multi_items())
    except BadSlice:
        if is_partial(request):  # htmx swaps in no answer that says it failed: it asks for the page that does
            return Response(headers={"hx-redirect": f"{request.url.path}?{request.url.query}"})
        raise
    here = address(wanted, page=page)
    sparse = "" not in request.query_params.values() or here == f"{request.url.path}?{request.url.query}"
    if not (sparse or is_partial(request)):  # a form sends its empty fields too: the address to pass on has none
        return RedirectResponse(here, 303)
    values: dict[str, Any] = {"wanted": wanted, "page": page, "found": None, "trouble": None, "unindexed": None}
    status = 200
    try:
        found = searcher(site).search(wanted)
        values |= {"found": found, **_of_page(site, found, page)}
    except QueryError as error:
        values["trouble"] = str(error)
        status = 200 if is_partial(request) else 422  # htmx swaps in no answer that says it failed
    except NotIndexed as error:
        values |= {"unindexed": str(error), "instead": address(without_text(wanted))}
    values |= _form(site, wanted) | {"address": address, "command": MAKES_INDEX}
    template = "search_panel.html" if is_partial(request) else "search.html"
    return site.page(request, template, values, status=status, headers={"hx-push-url": here})


@router.get("/search.csv")
def as_csv(request: Request, site: Pages) -> Response:
    """Ids and scores of the slice, no text."""
    wanted = slice_of(request.query_params.multi_items())
    rows = exported(searcher(site).search(wanted).sliced.rows(), wanted)
    return _file(rows.write_csv(), "text/csv; charset=utf-8", "slice.csv")


@router.get("/search.jsonl")
def as_jsonl(request: Request, site: Pages) -> Response:
    """The same, one JSON object a line."""
    wanted = slice_of(request.query_params.multi_items())
    rows = exported(searcher(site).search(wanted).sliced.rows(), wanted)
    return _file(rows.write_ndjson(), "application/jsonl", "slice.jsonl")


def _file(content: str, kind: str, name: str) -> Response:
    return Response(content, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})


def searcher(site: Site) -> Searcher:
    """The one searcher of these pages."""
    return site.kept.setdefault("search", Searcher(site.shelf))


def address(wanted: Slice, path: str = "/search", page: int = 1) -> str:
    """Where a slice is shown."""
    pairs = [*wanted.pairs(), *([("page", str(page))] if page > 1 else [])]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _of_page(site: Site, found: Found, page: int) -> dict[str, Any]:
    """What the results of one page need."""
    last = max(1, -(-found.sliced.total // PAGE))
    page = min(page, last)
    rows = found.sliced.rows((page - 1) * PAGE, PAGE)
    wanted = found.wanted
    numbers = dict.fromkeys([*(one.column for one in wanted.ranges), wanted.order[0]])
    shown_numbers = [name for name in numbers if name != NAME and name in rows.columns]
    hits = [
        Hit(row, {name: row[name] for name in shown_numbers}, _shown(text, pieces))
        for row, (text, pieces) in zip(rows.to_dicts(), pieces_of(site.lake(), rows, found.query), strict=True)
    ]
    return {
        "hits": hits,
        "page": page,
        "last": last,
        "first": (page - 1) * PAGE + 1,
        "facets": [(name, title, choices(found, name)) for name, title in FACETS],
        "listed": LISTED,
        "pages_in_all": site.shelf.look().frame.height,
    }


def _shown(text: str, pieces: Sequence[Piece]) -> list[Shown]:
    return [
        shown(text, [Span(low, high, "found") for low, high in piece.marks], piece.end - piece.start, piece.start)
        for piece in pieces
    ]


def choices(found: Found, name: str) -> list[Choice]:
    """The values of a facet, each a link to the slice with it or, where it is chosen, without it."""
    wanted = found.wanted
    counted = found.sliced.facets[name][:MORE]
    if name in ("verdict", "host"):
        own = {getattr(wanted, name)} - {""}
        return [
            Choice(value, n, address(replace(wanted, **{name: "" if value in own else value})), value in own)
            for value, n in counted
        ]
    field = f"{name}s"
    own = getattr(wanted, field)
    found_values = [*counted, *((value, 0) for value in own if value not in dict(counted))]
    return [
        Choice(
            value,
            n,
            address(replace(wanted, **{field: tuple(v for v in own if v != value) if value in own else (*own, value)})),
            value in own,
        )
        for value, n in found_values
    ]


def _form(site: Site, wanted: Slice) -> dict[str, Any]:
    """What the form offers."""
    shelved = site.shelf.look()
    stamp, offered = site.kept.get("search values", ("", {}))
    if stamp != shelved.stamp:
        columns = {"language": "language", "snapshot": "snapshot", "reason": "outcome"}
        offered = {name: shelved.frame[of].unique().drop_nulls().sort().to_list() for name, of in columns.items()}
        offered["reason"] = [one for one in offered["reason"] if one not in VERDICTS]
        site.kept["search values"] = (shelved.stamp, offered)
    measured = {name: meaning for name, meaning in scores().items() if name in shelved.frame.columns}
    return {
        "offered": offered,
        "scores": measured,
        "verdicts": VERDICTS,
        "sorts": [RELEVANCE, NAME, *measured],
    }
