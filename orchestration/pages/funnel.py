"""`/`: the funnel of a snapshot (or of all) under a policy, rule by rule, and the same by language, host or source."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import polars as pl
from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from orchestration.pages import funnel_steps as steps
from orchestration.pages.choosing import Choice, choose, load, names, overruled_by
from orchestration.pages.funnel_records import changed, records
from orchestration.pages.site import Pages, Site, is_partial
from orchestration.pages.weighed import COLUMNS, CORPUS_BYTES, NO_SHARDS, Part, Weighed, weighed

router = APIRouter()
GROUPS = 25  # languages, hosts or sources on one page of their table
OFFERED = 60  # languages in the form

By = Literal["language", "host", "source", "snapshot"]
Measure = Literal["documents", "tokens", "bytes"]


@router.get("/")
def funnel(
    request: Request,
    site: Pages,
    snapshot: str | None = None,
    language: str | None = None,
    host: str | None = None,
    source: str | None = None,
    policy: str | None = None,
    by: By = "language",
    bar: Measure = "documents",
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
) -> HTMLResponse:
    """The form, the stepped funnel, and its parts."""
    part = Part(snapshot, language, host, source)
    known = weighed(site)
    choice = choose(site, policy, known.policy)
    values = of_funnel(site, known, part, choice, by, page)
    values |= {"bar": bar, "measures": steps.MEASURES, **offered(site, known, choice)}
    return site.page(request, "funnel/panel.html" if is_partial(request) else "funnel/page.html", values)


def of_funnel(site: Site, known: Weighed, part: Part, choice: Choice, by: By, page: int) -> dict[str, Any]:
    """All that the funnel's panel shows."""
    rows = part.of(known.rows)
    said = steps.outcomes(rows, choice.shown) if choice.is_what_if and choice.decided_id != choice.shown.id else None
    found = steps.funnel(rows, choice.shown, said)
    lake = site.lake()
    groups = steps.by(rows, by, said)
    here = groups.slice((page - 1) * GROUPS, GROUPS)
    corpus = rows.select(pl.col(CORPUS_BYTES).count().alias("pages"), pl.col(CORPUS_BYTES).sum().alias("bytes"))
    return {
        "funnel": found,
        "is_what_if": said is not None,
        "part": part,
        "choice": choice,
        "known": known,
        "corpus": corpus.row(0, named=True),
        "records": records(lake, part),
        "changed": changed(lake, part.snapshot) if part == Part(part.snapshot) else None,
        "by": by,
        "columns": list(COLUMNS),
        "groups": here.to_dicts(),
        "reasons": steps.commonest_reasons(rows, by, here["value"].to_list(), said),
        "n_groups": groups.height,
        "group_pages": max(1, -(-groups.height // GROUPS)),
        "page": page,
        "no_shards": NO_SHARDS,
        "overruled_by": overruled_by(),
    }


def offered(site: Site, known: Weighed, choice: Choice) -> dict[str, Any]:
    """What the form offers: snapshots, the commonest languages, policies."""
    rows = known.rows
    spoken = rows["language"].drop_nulls().value_counts(sort=True).head(OFFERED)
    listed: list[str] = [*names(site), *([choice.goes_by.id] if choice.goes_by else [])]
    return {
        "snapshots": rows["snapshot"].unique().sort().to_list(),
        "languages": spoken.to_dicts(),
        "policies": list(dict.fromkeys(name if "@" in name else load(site, name).id for name in listed)),
    }
