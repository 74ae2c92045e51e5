"""`/labels`: the queue to label with keys, bulk labels of a filter, how far labellers agree, what the labels taught."""

import contextlib
from typing import Annotated, Any
from urllib.parse import quote, unquote

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from assets.judgements.said import LABELS, LabelRefused, Said, labeller_of, tags_of
from assets.judgements.store import Judgements, NothingToUndo
from assets.searching.slices import Slice
from orchestration.pages import labelling
from orchestration.pages.labelling import address, filter_in, filter_of
from orchestration.pages.launching import launch
from orchestration.pages.search import searcher
from orchestration.pages.site import Pages, Site, is_partial

router = APIRouter()
COOKIE, COOKIE_S = "stemma-labeller", 365 * 86400
DISAGREEMENTS = 100  # shown at once
Text = Annotated[str, Form()]
Words = Annotated[str, Query(max_length=200)]
DECIDED = ("decisions", "signatures", "duplicate_clusters", "repeated_text", "corpus")


@router.get("/labels")
def labels(request: Request, site: Pages, by: Words = "", skip: Annotated[int, Query(ge=0, le=10**7)] = 0) -> Response:
    """The next page of somebody's queue in a filter; who they are first."""
    wanted = filter_of(request.query_params.multi_items())
    if not by and (known := _name_in(request)):
        return RedirectResponse(address(wanted, known, skip=skip), 303)
    if not by:
        return site.page(request, "labels/who.html", {"wanted": wanted})
    by, store = labeller_of(by), Judgements(site.home)
    sliced = searcher(site).search(wanted).sliced
    found = labelling.queue_of(site, sliced, store, by, skip)
    values = {
        "by": by,
        "wanted": wanted,
        "skip": skip,
        "queue": found,
        "recent": labelling.recent(store, by),
        "address": address,
        "query": address(wanted).partition("?")[2],
        "facets": {
            name: [value for value, _ in sliced.facets[name]][:200] for name in ("reason", "language", "snapshot")
        },
    }
    template = "labels/panel.html" if is_partial(request) else "labels/queue.html"
    answer = site.page(request, template, values, headers={"hx-push-url": address(wanted, by, skip=skip)})
    answer.set_cookie(COOKIE, quote(by), max_age=COOKIE_S, httponly=True, samesite="lax")
    return answer


@router.post("/labels")
def say(
    site: Pages,
    by: Text,
    doc_id: Text,
    snapshot: Text,
    content_hash: Text,
    label: Text,
    tags: Text = "",
    note: Text = "",
    query: Text = "",
    skip: Annotated[int, Form(ge=0, le=10**7)] = 0,
) -> Response:
    """One label; then the next page."""
    wanted, page = filter_in(query), labelling.judged(site, doc_id, snapshot, content_hash)
    Judgements(site.home).add([Said(page, label, tags_of(tags), note)], by, labelling.source(wanted))
    return RedirectResponse(address(wanted, labeller_of(by), skip=skip), 303)


@router.post("/labels/undo")
def undo(site: Pages, by: Text, query: Text = "", batch: Text = "") -> Response:
    """Takes back a batch of somebody, or their newest; what is undone already stays so."""
    wanted, by = filter_in(query), labeller_of(by)
    with contextlib.suppress(NothingToUndo):  # the list of what was said, on the page that follows, says so
        Judgements(site.home).undo(by, batch or None)
    return RedirectResponse(address(wanted, by), 303)


@router.get("/labels/bulk")
def ask_bulk(request: Request, site: Pages, by: Words = "", label: Words = "", tags: Words = "") -> HTMLResponse:
    """How many pages a bulk label is about, before it is given."""
    return _bulk(request, site, filter_of(request.query_params.multi_items()), by, label, tags)


@router.post("/labels/bulk")
def say_bulk(
    request: Request,
    site: Pages,
    by: Text,
    label: Text,
    digest: Text,
    tags: Text = "",
    note: Text = "",
    query: Text = "",
) -> Response:
    """The same label on all pages of a filter, if they are still those that were counted."""
    wanted = filter_in(query)
    bulk = labelling.bulk_of(searcher(site).search(wanted).sliced)
    if bulk.digest != digest:
        return _bulk(request, site, wanted, by, label, tags, changed=True)
    kept = tags_of(tags)
    said = [Said(page, label, kept, note) for page in bulk.pages(site)]
    Judgements(site.home).add(said, by, labelling.source(wanted))
    return RedirectResponse(address(wanted, labeller_of(by)), 303)


@router.get("/labels/agreement")
def agreement(request: Request, site: Pages, one: Words = "", other: Words = "") -> HTMLResponse:
    """Cohen's kappa of every two labellers, and the pages that two of them disagree on."""
    from assets.judgements import standing

    store = Judgements(site.home)
    rows = standing.rows(store)
    found = standing.agreements(rows)
    if not (one and other) and found:
        one, other = found[0][:2]
    differing = standing.disagreements(rows, one, other).head(DISAGREEMENTS).to_dicts()
    addresses = store.urls(row["doc_id"] for row in differing)
    shown = [row | {"url": addresses.get(row["doc_id"], "")} for row in differing]
    counts = {
        who: {label: rows.filter(labeller=who, label=label).height for label in LABELS}
        for who in sorted(rows["labeller"].unique())
    }
    values = {"found": found, "one": one, "other": other, "differing": shown, "counts": counts, "labels": LABELS}
    return site.page(request, "labels/agreement.html", values)


@router.get("/labels/classifier")
def classifier(request: Request, site: Pages) -> HTMLResponse:
    """What the classifier learnt, precision and recall by threshold, and the buttons that train it and score pages."""
    from assets.descent import manifest_of
    from assets.judgements import standing, training
    from assets.judgements.report import at_thresholds
    from models.config import QualityConfig

    lake = site.lake()
    manifest = manifest_of(lake.artifacts.root / training.ASSET / lake.artifacts.version_of(training.ASSET))
    waiting = standing.majority(standing.rows(Judgements(site.home)))
    values = {
        "manifest": manifest,
        "version": lake.artifacts.version_of(training.ASSET),
        "rows": at_thresholds(manifest),
        "curves": labelling.curves(manifest),
        "good": waiting.filter(label=1).height,
        "bad": waiting.filter(label=0).height,
        "least": QualityConfig().least,
    }
    return site.page(request, "labels/classifier.html", values)


@router.post("/labels/retrain")
def retrain(site: Pages) -> Response:
    """Puts the labels into their table and trains the classifier, in Dagster."""
    [launched] = launch(site, assets=["labels", "quality_classifier"], why="labels of curators")
    return RedirectResponse(launched.page(then="/labels/classifier"), 303)


@router.post("/labels/score")
def score(site: Pages) -> Response:
    """Scores every page by the classifier as it is, and decides again where the policy asks for scores, in Dagster."""
    from assets.configs import unread
    from assets.resources import RecipeResource

    asked = not unread("decisions", RecipeResource().chosen_policy(site.home))
    snapshots = sorted(site.shelf.rows()["snapshot"].unique())
    assets = ["page_quality", *(DECIDED if asked else ())]
    [launched] = launch(site, assets=assets, partitions=snapshots, why="another quality classifier")
    return RedirectResponse(launched.page(then="/labels/classifier"), 303)


def _bulk(
    request: Request, site: Site, wanted: Slice, by: str, label: str, tags: str, *, changed: bool = False
) -> HTMLResponse:
    by = labeller_of(by)
    if label not in LABELS:
        raise LabelRefused(f"choose a label: {', '.join(LABELS)}")
    bulk = labelling.bulk_of(searcher(site).search(wanted).sliced)
    mine = len(Judgements(site.home).labelled_by(by).intersection(bulk.rows["doc_id"]))
    values: dict[str, Any] = {
        "by": by,
        "label": label,
        "tags": " ".join(tags_of(tags)),
        "bulk": bulk,
        "mine": mine,
        "source": labelling.source(wanted),
        "query": address(wanted).partition("?")[2],
        "back": address(wanted, by),
        "sample": bulk.rows.head(10).to_dicts(),
        "changed": changed,
    }
    return site.page(request, "labels/bulk.html", values)


def _name_in(request: Request) -> str:
    """The name that the browser remembers; "" where it is none."""
    try:
        return labeller_of(unquote(request.cookies.get(COOKIE, "")))
    except LabelRefused:
        return ""
