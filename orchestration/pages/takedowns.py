"""`/takedown`: who asked for what to be removed; a form that shows what a request would reach; and applying them.

A request is looked at before it is written down: its scope is in the address, its reach is a panel that is filled in
while it is computed. Writing goes through the ledger, which loses neither of two people who ask at once. Applying is a
run of Dagster, alone in the home; without Dagster the page says which command does the same.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from assets.safe_text import shown
from assets.steps.ledger import IncompleteRequest, Ledger, Takedown
from assets.steps.scopes import BadScope, Scope, scope
from orchestration.home import Home, require
from orchestration.pages import launching, reaches, takedown_ledger
from orchestration.pages.launching import DagsterAway, LaunchRefused, UnknownRun
from orchestration.pages.rendering import link
from orchestration.pages.site import Pages, Site, is_partial

router = APIRouter()

LISTED = 50  # requests of the ledger on a page
APPLY, JOB = "stemma takedown apply", "takedown_reports"
TEXTS_KEPT = 64  # texts that were looked at and are in no ledger yet: their fingerprints
NEAR_AT_ONCE = 200  # further documents that one form asks for
KINDS = {
    "url": ("One page, by its address", "https://example.org/page"),
    "prefix": ("Every address that begins so", "https://example.org/people/"),
    "host": ("A host with its subdomains", "example.org"),
    "document": ("One document, by its id", "00000000-0000-0000-0000-000000000000"),
}


class UnknownTakedown(LookupError):
    """The ledger has no request of that number."""


class TooMany(ValueError):
    """More documents are named at once than a form can show."""


@dataclass(frozen=True)
class Asked:
    """What the form holds: a scope where it is one, else why it is none."""

    kind: str = "url"
    value: str = ""
    by: str = ""
    why: str = ""
    scope: Scope | None = None
    problem: str = ""


@router.get("/takedown")
def takedown(
    request: Request,
    site: Pages,
    kind: str | None = None,
    value: str | None = None,
    url: str | None = None,
    prefix: str | None = None,
    host: str | None = None,
    doc: str | None = None,
    by: str = "",
    why: str = "",
    added: Annotated[list[str] | None, Query()] = None,
    before: int | None = None,
    run: str | None = None,
) -> HTMLResponse:
    """The ledger, the form, and what is asked for in the address; or (htmx) the reach of that alone."""
    require(Home(site.home))
    given = {"url": url, "prefix": prefix, "host": host, "document": doc}
    short = next(((name, said) for name, said in given.items() if said is not None), None)
    asked = _asked(site, *(short or (kind or "url", value or "")), by, why)
    if is_partial(request) and asked.scope is not None:
        return site.page(request, "takedown/reach.html", {"asked": asked, **_reach(site, asked.scope)})
    return _page(request, site, asked, added=added, before=before, run=run)


@router.post("/takedown/text")
def look_at_text(site: Pages, text: Annotated[str, Form()] = "") -> Response:
    """Takes a text to look at. It is fingerprinted here and forgotten: addresses and logs never hold it."""
    found = scope("text", text)
    kept = _texts(site)
    kept[found.value] = found
    while len(kept) > TEXTS_KEPT:
        kept.popitem(last=False)
    return RedirectResponse(f"/takedown?kind=text&value={found.value}#ask", 303)


@router.post("/takedown")
def add(
    request: Request,
    site: Pages,
    kind: Annotated[str, Form()] = "",
    value: Annotated[str, Form()] = "",
    by: Annotated[str, Form()] = "",
    why: Annotated[str, Form()] = "",
    near: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Writes the request into the ledger, and one for each near page that is ticked."""
    asked = _asked(site, kind, value, by, why)
    if asked.scope is None:
        return _page(request, site, asked, status=422)
    if len(near or []) > NEAR_AT_ONCE:
        raise TooMany(f"{len(near or [])} documents at once: ask for their host or prefix instead")
    ledger = Ledger(require(Home(site.home)).root)
    try:
        scopes = [asked.scope, *(scope("document", one) for one in near or [])]
        entries = [ledger.add(one, by, why) for one in scopes]
    except (IncompleteRequest, BadScope) as error:
        problem = str(error).replace(" (--by)", "").replace(" (--why)", "")
        return _page(request, site, Asked(kind, value, by, why, asked.scope, problem), status=422)
    said = [f"{entry.number}{'' if new else '-known'}" for entry, new in entries]
    return RedirectResponse(link(request, "/takedown", added=said) + "#ledger", 303)


@router.post("/takedown/apply")
def apply(request: Request, site: Pages) -> Response:
    """Starts the run that applies what waits."""
    require(Home(site.home))
    waiting = takedown_ledger.waiting(site)
    try:
        (launched,) = launching.launch(site, assets=[JOB], why=f"apply {waiting} takedowns")
    except (DagsterAway, LaunchRefused) as error:
        return _page(request, site, Asked(), refused=_why(error), status=503)
    return RedirectResponse(f"/takedown?run={launched.run_id}#apply", 303)


@router.get("/takedown/{number}")
def report(request: Request, site: Pages, number: str) -> HTMLResponse:
    """One request: what was asked, what it reaches, and what applying it did."""
    entries = takedown_ledger.known(site).entries
    if not number.isdecimal() or not 0 < int(number) <= len(entries):
        raise UnknownTakedown(f"there is no takedown {shown(number, 20)}: the ledger at /takedown lists all")
    entry = entries[int(number) - 1]
    status = Ledger(site.home).status(entry.number)
    if is_partial(request):
        values = {"asked": Asked(entry.scope.kind, entry.scope.value, scope=entry.scope), **_reach(site, entry.scope)}
        return site.page(request, "takedown/reach.html", values)
    found = takedown_ledger.report_of(site, entry.number)
    values = {"entry": entry, "status": status, "report": found, "shown": takedown_ledger.PAGES_SHOWN, "command": APPLY}
    return site.page(request, "takedown/report.html", values)


def _page(
    request: Request,
    site: Site,
    asked: Asked,
    *,
    added: list[str] | None = None,
    before: int | None = None,
    run: str | None = None,
    refused: str = "",
    status: int = 200,
) -> HTMLResponse:
    entries = takedown_ledger.known(site).entries
    last = len(entries) if before is None else max(min(before - 1, len(entries)), 0)
    listed = entries[max(last - LISTED, 0) : last][::-1]
    known = next((one for one in entries if asked.scope and one.scope == asked.scope), None)
    state, away = _run(site, run)
    values = {
        "kinds": KINDS,
        "asked": asked,
        "known": known,
        "entries": takedown_ledger.shown(site, listed),
        "total": len(entries),
        "older": listed[-1].number if listed and listed[-1].number > 1 else None,
        "waiting": takedown_ledger.waiting(site),
        "added": _added(entries, added or []),
        "run": state,
        "refused": refused or away,
        "command": APPLY,
    }
    return site.page(request, "takedown/page.html", values, status=422 if asked.problem else status)


def _asked(site: Site, kind: str, value: str, by: str, why: str) -> Asked:
    """The form with its scope, or with what is wrong with it. Of a text `value` is its fingerprint."""
    if not value:
        return Asked(kind if kind in KINDS else "url", "", by, why)
    if kind == "text":
        in_ledger = (one.scope for one in takedown_ledger.known(site).entries)
        kept = _texts(site).get(value) or next(
            (one for one in in_ledger if (one.kind, one.value) == (kind, value)), None
        )
        gone = "" if kept else "this text is not remembered any more: give it once more"
        return Asked(kind, value, by, why, kept, gone)
    try:
        return Asked(kind, value, by, why, scope(kind, value))
    except BadScope as error:
        return Asked(kind, value, by, why, None, str(error))


def _texts(site: Site) -> OrderedDict[str, Scope]:
    return site.kept.setdefault("takedown texts", OrderedDict())


def _reach(site: Site, wanted: Scope) -> dict[str, Any]:
    return {"report": reaches.of(site).ask(wanted)}


def _run(site: Site, run_id: str | None) -> tuple[launching.RunState | None, str]:
    """How the run stands that the address names, or why nobody can say."""
    if run_id is None:
        return None, ""
    try:
        return launching.state(site, run_id), ""
    except (DagsterAway, UnknownRun, LaunchRefused) as error:
        return None, _why(error)


def _why(error: DagsterAway | LaunchRefused | UnknownRun) -> str:
    """What went wrong; the command that does without Dagster stands on the page."""
    if isinstance(error, DagsterAway):
        return f"Dagster does not answer at {error.address}: start it with `make ui` and ask again"
    return str(error)


def _added(entries: list[Takedown], said: list[str]) -> list[tuple[Takedown, bool]]:
    """The requests that the address says were just made, and whether each is new."""
    found = []
    for one in said[:NEAR_AT_ONCE]:
        number, _, known = one.partition("-")
        if number.isdecimal() and 0 < int(number) <= len(entries):
            found.append((entries[int(number) - 1], not known))
    return found
