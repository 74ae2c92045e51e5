"""`/filter`: the rules with what each takes; `/filter/<rule>`: another threshold, what it would do, pages at it.

Nothing here changes anything: a change lives in the address until it is saved as a version (policy_page.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import polars as pl
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import HTMLResponse

from assets.policy import Policy, PolicyError, columns, difference
from assets.policy.own import newest_version
from assets.policy.rules import Rule
from assets.policy.saving import LONGEST, suggested_name
from assets.safe_text import shown
from orchestration.pages import filter_view as view
from orchestration.pages import funnel_steps as steps
from orchestration.pages.choosing import Choice, choose
from orchestration.pages.filter_change import BadThreshold, Change, any_rule, read
from orchestration.pages.filter_samples import Texts, samples
from orchestration.pages.funnel import offered
from orchestration.pages.site import Pages, Site, is_partial
from orchestration.pages.weighed import COLUMNS, NO_SHARDS, Part, Weighed, weighed

router = APIRouter()
SAMPLES = 3  # of each side
LANGUAGES = 12  # that are listed though they have no rules of their own

Reach = Literal["reached", "all"]


class UnknownRule(LookupError):
    """The policy has no rule of that name."""


@router.get("/filter")
def rules(
    request: Request,
    site: Pages,
    snapshot: str | None = None,
    language: str | None = None,
    host: str | None = None,
    source: str | None = None,
    policy: str | None = None,
) -> HTMLResponse:
    """Every rule in order, with pages that reach it and those that it takes."""
    known, part = weighed(site), Part(snapshot, language, host, source)
    choice = choose(site, policy, known.policy)
    rows = part.of(known.rows)
    said = _said(rows, choice)
    found = steps.funnel(rows.with_columns(said.alias("outcome")), choice.shown)
    values = {"funnel": found, "part": part, "choice": choice, "rule_of": lambda name: any_rule(choice.shown, name)}
    template = "filter/list_panel.html" if is_partial(request) else "filter/list.html"
    return site.page(request, template, values | offered(site, known, choice))


@dataclass(frozen=True)
class Asked:
    """The parameters of a rule's page, beside the change that it proposes."""

    rule: str
    part: Part
    policy: str | None
    reach: Reach
    log: bool
    seed: int
    more: int
    samples: bool  # at once, for readers without scripts


def asked(
    rule: str,
    snapshot: str | None = None,
    language: str | None = None,
    host: str | None = None,
    source: str | None = None,
    policy: str | None = None,
    reach: Reach = "reached",
    log: bool = False,
    seed: Annotated[int, Query(ge=0, le=10**6)] = 0,
    more: Annotated[int, Query(ge=1, le=10**5)] = 1,
    samples: bool = False,
) -> Asked:
    """Read from the address."""
    return Asked(rule, Part(snapshot, language, host, source), policy, reach, log, seed, more, samples)


Wanted = Annotated[Asked, Depends(asked)]


@router.get("/filter/{rule}")
def one(request: Request, site: Pages, wanted: Wanted) -> HTMLResponse:
    """A rule, and what a change of it would do. Samples are asked for afterwards: they are read from files."""
    values, rows = _looked_at(request, site, wanted)
    values["samples"] = None
    if wanted.samples:
        values |= pages_at_the_border(site, rows, values["proposed"], values["then"] or values["rule"], wanted)
    if is_partial(request):  # a fault is shown in its place too
        return site.page(request, "filter/panel.html", values)
    values |= offered(site, values["known"], values["choice"])
    return site.page(request, "filter/page.html", values, status=422 if values["trouble"] else 200)


@router.get("/filter/{rule}/samples")
def border(request: Request, site: Pages, wanted: Wanted) -> HTMLResponse:
    """The pages at the border alone."""
    values, rows = _looked_at(request, site, wanted)
    values |= pages_at_the_border(site, rows, values["proposed"], values["then"] or values["rule"], wanted)
    return site.page(request, "filter/samples.html", values)


def _looked_at(request: Request, site: Site, wanted: Asked) -> tuple[dict[str, Any], pl.DataFrame]:
    """What the panel shows, and the rows that its samples are of. Raises UnknownRule, UnknownPolicy, NoSuchSlice."""
    known = weighed(site)
    choice, rule = choose(site, wanted.policy, known.policy), wanted.rule
    if rule not in choice.shown.reasons:
        raise UnknownRule(
            f"{choice.shown.id} has no rule {shown(rule, 60)}: /filter lists those that it has, "
            f"as {', '.join(choice.shown.reasons[:5])}"
        )
    change, proposed, trouble = _proposed(request, rule, choice.shown)
    values: dict[str, Any] = {"part": wanted.part, "choice": choice, "rule_name": rule, "change": change}
    values |= {"trouble": trouble, "reach": wanted.reach, "log": wanted.log, "seed": wanted.seed, "more": wanted.more}
    values |= {"no_shards": NO_SHARDS, "known": known, "to_rule": lambda name: _address(request, name, change)}
    values["as_it_is"] = _address(request, rule, Change())
    figures, rows = of_rule(known, wanted.part, choice, proposed, rule, wanted.reach)
    return values | figures | to_save(site, choice.shown, proposed), rows


def _proposed(request: Request, rule: str, policy: Policy) -> tuple[Change, Policy, str]:
    """The change in the address, the policy with it, and what is wrong with it (then the policy is as it was)."""
    try:
        change = read(rule, request.query_params.multi_items(), policy)
        return change, change.of(policy), ""
    except (BadThreshold, PolicyError) as error:
        typed = tuple((name, value) for name, value in request.query_params.multi_items() if name in ("min", "max"))
        return Change(typed=typed), policy, " ".join(str(error).split())


def of_rule(
    known: Weighed, part: Part, choice: Choice, proposed: Policy, rule: str, reach: Reach
) -> tuple[dict[str, Any], pl.DataFrame]:
    """The figures of a rule's panel, and the rows that are looked at with `passed`: whether each passes the rule."""
    policy = choice.shown
    rows = part.of(known.rows)
    said = _said(rows, choice)
    now = steps.outcomes(rows, proposed) if proposed is not policy else said
    then = any_rule(proposed, rule) or any_rule(policy, rule)
    assert then is not None
    column = columns()[then.statistic]
    arrives = view.reached(said, policy, rule)
    passed = view.passes(rows, proposed, rule)
    looked_at = arrives if reach == "reached" else pl.Series([True]).new_from_index(0, rows.height)
    some, told = rows.filter(looked_at), passed.filter(looked_at)
    numeric = column.kind == "number"
    spread = view.spread(some, then, told, policy, proposed) if numeric else None
    bounds = dict((any_rule(proposed, rule) or then).bounds())
    unchanged = dict((any_rule(policy, rule) or then).bounds())
    edges = spread.edges if spread is not None else [0.0, 1.0]
    sliders = {side: view.slider(column, edges, [at, unchanged.get(side, at)]) for side, at in bounds.items()}
    figures = {
        "rule": any_rule(policy, rule),
        "then": any_rule(proposed, rule),
        "proposed": proposed,
        "numeric": numeric,
        "bounds": bounds,
        "unchanged": unchanged,
        "sliders": sliders,
        "spread": spread,
        "values": [] if numeric else view.by_value(some, then.statistic, told),
        "looked_at": some.height,
        "reached": int(arrives.sum()),
        "all_pages": rows.height,
        "taken": int((said == rule).sum()),
        "fails": int((~told).sum()),
        "sides": view.sides(rows, said, now),
        "spoken": view.languages(rows, arrives, policy, proposed, rule, ~passed, LANGUAGES) if numeric else [],
    }
    return figures, some.with_columns(told.alias("passed"))


def pages_at_the_border(site: Site, rows: pl.DataFrame, proposed: Policy, rule: Rule, wanted: Asked) -> dict[str, Any]:
    """Samples of both sides, the nearest to the threshold first."""
    near, texts = view.border(rows, proposed, rule, wanted.seed), Texts.of(site)
    found = {}
    for side, passed in (("kept", True), ("dropped", False)):
        here = near.filter(pl.col("passed") == passed)
        found[side] = samples(texts, here.slice((wanted.more - 1) * SAMPLES, SAMPLES), rule)
    return {"samples": found, "per_side": SAMPLES, "is_numeric": bool(rule.bounds())}


def to_save(site: Site, policy: Policy, proposed: Policy) -> dict[str, Any]:
    """What the form that saves a version needs."""
    name = suggested_name(policy)
    return {
        "changes": difference(policy, proposed) if proposed is not policy else [],
        "suggested": name,
        "seen": newest_version(site.home, name),
        "longest": LONGEST,
    }


def _said(rows: pl.DataFrame, choice: Choice) -> pl.Series:
    """What the rules of the policy say of each row. Where it is the one that decided, the table says it: duplicates
    were kept by the rules."""
    if choice.decided is not None and choice.decided.digest == choice.shown.digest:
        undecided = pl.when(pl.col("verdict").is_null()).then(pl.lit(steps.UNDECIDED))
        kept = pl.coalesce("reason", undecided, pl.lit("kept"))
        return rows.select(kept.alias("said")).to_series()
    return steps.outcomes(rows, choice.shown)


def _address(request: Request, name: str, change: Change) -> str:
    """Another rule's page with the same pages, policy and changes."""
    given = request.query_params.multi_items()
    kept = [(key, value) for key, value in given if value and key in (*COLUMNS, "policy")]
    kept += [("set", setting) for setting in change.settings] + [("drop", one) for one in change.removed]
    return f"/filter/{name}" + (f"?{urlencode(kept)}" if kept else "")
