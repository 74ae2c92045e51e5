"""`/policy`: the versions there are; `/policy/<name@version>`: how it differs, which pages that moves, and its use.

Using one is two things: the home goes by it from now on, and Dagster makes again what it decides otherwise. Neither
waits for the other: where Dagster is away the choice holds, and the page says what starts the run.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import dagster as dg
from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from assets import policy as policies
from assets.configs import config_of
from assets.policy import Policy, PolicyError
from assets.policy.own import IDENTITY
from assets.resources import RecipeResource
from assets.safe_text import shown
from orchestration.pages import filter_view as view
from orchestration.pages import funnel_steps as steps
from orchestration.pages.choosing import Choice, UnknownPolicy, choose, load, names, overruled_by
from orchestration.pages.filter_change import read
from orchestration.pages.launching import DagsterAway, LaunchRefused, launch
from orchestration.pages.shelf import NothingYet
from orchestration.pages.site import Pages, Site
from orchestration.pages.weighed import Part, remembered, weighed

router = APIRouter()
LAST = "corpus_card"  # what a funnel is made again up to
LANGUAGES = 15


class Overruled(ValueError):
    """The environment names a policy, which counts more than what the home goes by."""


@router.get("/policy")
def listed(request: Request, site: Pages) -> HTMLResponse:
    """Every policy that can be asked for, the home's own with who saved it and why."""
    known = [load(site, name) for name in names(site)]
    values = {"listed": known, "choice": choose(site, None, _decided(site)), "is_own": IDENTITY.fullmatch}
    return site.page(request, "policy/list.html", values | {"own": set(policies.available(site.home))})


@router.get("/policy/{name}")
def one(
    request: Request, site: Pages, name: str, snapshot: str | None = None, meanwhile: str = "", rule: str = ""
) -> HTMLResponse:
    """One policy, beside the one that it came from or any other."""
    return _page(request, site, name, Part(snapshot), {"meanwhile": _ids(meanwhile), "rule": rule})


@router.post("/policy/save")
def save(
    request: Request,
    site: Pages,
    parent: Annotated[str, Form()],
    name: Annotated[str, Form()] = "",
    by: Annotated[str, Form()] = "",
    why: Annotated[str, Form()] = "",
    seen: Annotated[int, Form()] = 0,
    seen_of: Annotated[str, Form()] = "",
    rule: Annotated[str, Form()] = "",
    snapshot: Annotated[str, Form()] = "",
    set: Annotated[list[str], Form()] = [],  # noqa: B006 (names of the form; FastAPI copies it)
    drop: Annotated[list[str], Form()] = [],  # noqa: B006
) -> Response:
    """Keeps a change as the next version, whoever else saved one meanwhile."""
    before = load(site, parent)
    change = read("", [("set", one) for one in set] + [("drop", one) for one in drop])
    since = seen if seen_of == name else None  # another name was typed: nobody looked at its versions
    saved = policies.save(site.home, name.strip(), parent, change.of(before), by=by, why=why, seen=since)
    parameters = {"snapshot": snapshot, "rule": rule, "meanwhile": ",".join(saved.meanwhile)}
    return RedirectResponse(_address(saved.policy.id, parameters), 303)


@router.post("/policy/{name}/use")
def use(request: Request, site: Pages, name: str, snapshot: Annotated[str, Form()] = "") -> Response:
    """The home goes by it, and Dagster makes again what follows from it, of one snapshot or of all."""
    known = weighed(site)
    choice = choose(site, name, known.policy)
    policy = choice.shown
    _go_by(site, choice, policy)
    snapshots = known.rows["snapshot"].unique().sort().to_list()
    part = Part(snapshot)
    part.of(known.rows)
    wanted = [part.snapshot] if part.snapshot else snapshots
    try:
        [launched] = launch(
            site, assets=follows(site, choice.decided, policy), partitions=wanted, why=f"policy {policy.id}"
        )
    except (DagsterAway, LaunchRefused) as error:
        said = {"away": str(error), "command": None}
        if isinstance(error, DagsterAway):
            said = {"away": f"{error.said}, or run this in a terminal:", "command": error.command}
        return _page(request, site, policy.id, part, said, status=503)
    then = f"/?snapshot={part.snapshot}" if part.snapshot else "/"
    return RedirectResponse(launched.page(then=then), 303)


def _go_by(site: Site, choice: Choice, policy: Policy) -> None:
    """The home goes by it from now on. Raises Overruled."""
    if choice.goes_by is not None and choice.goes_by.id == policy.id:
        return
    if above := overruled_by():
        raise Overruled(f"STEMMA_POLICY is {shown(above, 80)}, which counts more: unset it where Dagster was started")
    policies.choose(site.home, policy.id)


def _page(request: Request, site: Site, name: str, part: Part, more: dict[str, Any], status: int = 200) -> HTMLResponse:
    choice = choose(site, name, _decided(site))
    policy = choice.shown
    against = request.query_params.get("against") or (policy.parents[0] if policy.parents else "")
    parent = _or_none(site, against)
    values: dict[str, Any] = {"policy": policy, "parent": parent, "part": part, "choice": choice, "effect": None}
    values |= {"meanwhile": [], "rule": "", "away": "", "command": None, "names": names(site), "nothing": None}
    values |= {"changes": [], "settings": {}, "snapshots": [], "makes": []}
    values |= {
        "overruled_by": overruled_by(),
        "is_own": bool(IDENTITY.fullmatch(policy.id)) and policy.id in names(site),
    }
    if parent is not None:
        values |= {
            "changes": policies.difference(parent, policy),
            "settings": policies.settings_difference(parent, policy),
        }
    try:
        known = weighed(site)
        base = parent or choice.decided
        rows = part.of(known.rows)
        if base is not None:
            key = ("effect", known.stamp, part, base.digest, policy.digest)
            values["effect"] = remembered(site, key, lambda: _effect(rows, base, policy))
        values |= {"snapshots": rows["snapshot"].unique().sort().to_list(), "known": known}
        decided = choice.decided
        key = ("follows", decided.digest if decided is not None else "", policy.digest)
        values["makes"] = remembered(site, key, lambda: follows(site, decided, policy))
    except NothingYet as nothing:
        values["nothing"] = nothing
    except PolicyError as error:  # it looks at what was never measured here
        values["nothing"] = error
    return site.page(request, "policy/one.html", values | more, status=status)


def _effect(rows: Any, before: Policy, after: Policy) -> dict[str, Any]:
    """What changes sides, and each rule's pages under both, those that differ."""
    was, now = steps.outcomes(rows, before), steps.outcomes(rows, after)
    found, old = steps.funnel(rows, after, now), steps.funnel(rows, before, was)
    before_by = {step.name: step.taken.documents for step in old.steps}
    reasons = [(step.name, before_by.pop(step.name, 0), step.taken.documents) for step in found.steps]
    reasons += [(name, count, 0) for name, count in before_by.items()]
    return {
        "before": before,
        "sides": view.sides(rows, was, now),
        "reasons": [one for one in reasons if one[1] != one[2]],
        "languages": LANGUAGES,
    }


def follows(site: Site, decided: Policy | None, policy: Policy) -> list[str]:
    """The assets to make again: those that the policy decides otherwise than `decided`, and what follows from them up
    to the corpus card, in the graph's order."""
    from orchestration.sensors import BY_POLICY

    first = {"decisions"}
    if decided is not None:
        now, then = (_reference(site, one) for one in (decided, policy))
        asked = {name: [config_of(name, recipe="", policy=one) for one in (now, then)] for name in BY_POLICY}
        first |= {name for name, (was, will) in asked.items() if was != will}
    above, order = _graph()
    wanted: set[str] = set()
    for name in order:  # parents come first
        if name in first or above[name] & wanted:
            wanted.add(name)
    leads = {LAST}
    for name in reversed(order):
        if any(name in above[other] for other in leads):
            leads.add(name)
    return [name for name in order if name in wanted & leads]


def _reference(site: Site, policy: Policy) -> str:
    """What `policy.load` finds it by; the one that the home goes by may be a file that has no name."""
    chosen = RecipeResource().chosen_policy(site.home)
    return chosen if policies.load(chosen, site.home).id == policy.id else policies.located(policy.id, site.home)


@functools.cache
def _graph() -> tuple[dict[str, set[str]], list[str]]:
    """(parents of every asset, assets in an order in which parents come first)."""
    from orchestration.graph import build

    graph = build().resolve_asset_graph()
    order = [key.to_user_string() for key in graph.toposorted_asset_keys if graph.get(key).is_materializable]
    return {
        name: {parent.to_user_string() for parent in graph.get(dg.AssetKey([name])).parent_keys} for name in order
    }, order


def _decided(site: Site) -> str | None:
    try:
        return weighed(site).policy
    except NothingYet:
        return None


def _or_none(site: Site, name: str) -> Policy | None:
    try:
        return load(site, name) if name else None
    except UnknownPolicy:
        return None


def _ids(given: str) -> list[str]:
    return [one for one in given.split(",")[:50] if IDENTITY.fullmatch(one)]


def _address(identity: str, parameters: dict[str, str]) -> str:
    given = {name: value for name, value in parameters.items() if value}
    return f"/policy/{quote(identity, safe='@')}" + (f"?{urlencode(given)}" if given else "")
