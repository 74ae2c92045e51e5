"""`/doc/<id>`: one page's whole journey, from its place in the crawl to the models that read it.

The page itself reads the shelf alone. Panels that read files are filled in when they come into view (htmx), or with
`?panel=NAME`, which opens them in the page.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from assets import policy as policies
from assets.judgements.store import Judgements
from assets.policy import Policy, PolicyError
from assets.resources import RecipeResource
from assets.safe_text import shown
from assets.schemas import table
from orchestration.pages import takedown_ledger
from orchestration.pages.document_panels import PANELS, View
from orchestration.pages.document_rows import Document, find
from orchestration.pages.document_rules import counted_by, decided, verdicts
from orchestration.pages.hostile import visible
from orchestration.pages.rendering import number
from orchestration.pages.shelf import KEPT, is_duplicate
from orchestration.pages.site import Pages, Site, is_partial

router = APIRouter()

ADDRESS_SHOWN = 4_000  # characters
NOT_MEASURED = ("doc_id", "snapshot", "shard", "pii")  # columns of annotations that are no value of their own
JOINED = {  # what is measured elsewhere, and rules may look at
    "contaminated_by": ("evaluation sets that share a passage with the text", ""),
    "curated_quality": ("probability that the curators' labels call the page good", "0..1"),
}


class UnknownPolicy(LookupError):
    """No policy of that name is here."""


class UnknownPanel(LookupError):
    """A page's journey has no such panel."""


@router.get("/doc/{doc_id}")
def document(
    request: Request,
    site: Pages,
    doc_id: str,
    snapshot: str | None = None,
    policy: str | None = None,
    panel: Annotated[list[str] | None, Query()] = None,
    source_from: int | None = None,
    text_from: int = 0,
    corpus_from: int = 0,
    diff_from: int = 0,
    tokens_from: int = 0,
    span: int = 0,
    against: str | None = None,
    rule: str | None = None,
) -> HTMLResponse:
    """The journey, or one panel of it."""
    page = find(site, doc_id, snapshot)
    chosen = policy_of(site, page, policy)
    view = View(page, chosen, source_from, text_from, corpus_from, diff_from, tokens_from, span, against, rule)
    for name in panel or []:
        if name not in PANELS:
            raise UnknownPanel(f"there is no panel {shown(name, 40)}: there are {', '.join(PANELS)}")
    if is_partial(request) and panel:
        name = panel[-1]
        values = {"name": name, "panel": PANELS[name], "it": PANELS[name].build(site, view), "view": view}
        return site.page(request, "document/panel.html", values)
    opened = {name: PANELS[name].build(site, view) for name in dict.fromkeys(panel or [])}
    return site.page(request, "document/page.html", {**facts(site, view), "panels": PANELS, "opened": opened})


def policy_of(site: Site, page: Document, asked: str | None) -> Policy:
    """The policy that is asked for, else the one that decided the page, else (where that one is here no more, or none
    did) the one that runs follow. Raises UnknownPolicy."""
    names = policies.available(site.home)
    wanted = asked or page.row["policy"] or ""
    try:
        if wanted in names or wanted.partition("@")[0] in names:  # never a path: it would be read from anywhere
            return policies.load(wanted, site.home)
        problem = f"no policy is called {shown(wanted, 60)}: there are {', '.join(names)}"
    except PolicyError as error:
        problem = str(error)
    if asked is None:
        return policies.load(RecipeResource().chosen_policy(site.home), site.home)
    raise UnknownPolicy(problem)


def facts(site: Site, view: View) -> dict[str, Any]:
    """What the page shows without reading a file."""
    page, policy = view.page, view.policy
    row = page.row
    return {
        "page": page,
        "row": row,
        "view": view,
        "address": visible(row["url"][:ADDRESS_SHOWN]),
        "steps": list(journey(row)),
        "policies": policies.available(site.home),
        "verdicts": (found := verdicts(row, policy)),
        "shows": {one.rule.rule for one in found if counted_by(one.rule)},
        "decided": decided(page.frame, policy),
        "meanings": meanings(),
        "values": [(name, row[name]) for name in meanings() if name in row and name not in NOT_MEASURED],
        "takedown": takedown_ledger.known(site).refusal.of_page(page.doc_id, row["url"], row["host"] or ""),
        "labels": Judgements(site.home).of_page(page.doc_id),
    }


def meanings() -> dict[str, tuple[str, str]]:
    """Meaning and unit of every column that rules may look at."""
    found = dict(JOINED)
    for field in table("annotations").schema:
        said = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        found[field.name] = (said.get("comment", ""), said.get("unit", ""))
    return found


def journey(row: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(anchor, step, what became of the page there) of every step that the tables know of."""
    yield "crawl", "Crawled", f"{row['fetched_at']:%Y-%m-%d}" if row["fetched_at"] else "no date"
    extracted = f"{number(row['n_chars'])} characters" if row["extraction"] == "ok" else row["extraction"]
    yield "source", "Extracted", extracted
    yield "measured", "Measured", f"{row['language'] or 'und'}, {number(row['n_words'])} words"
    kept = row["verdict"] == KEPT
    yield "rules", "Decided", {None: "not yet", KEPT: "kept"}.get(row["verdict"], f"dropped: {row['reason']}")
    if kept:
        duplicate = is_duplicate(row["outcome"])
        alone = "alone" if (row["cluster_size"] or 1) == 1 else f"stays, of {number(row['cluster_size'])}"
        said = "not yet" if row["cluster_id"] is None else row["outcome"] if duplicate else alone
        yield "duplicates", "Compared", said
        if row["cluster_id"] is not None and not duplicate:
            yield "cleaning", "Cleaned", f"{number(row['pii_count'])} pieces of personal data"
            yield "tokens", "Tokenized", "see its ids"
    yield "holders", "Held", "see by what"
