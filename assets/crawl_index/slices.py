"""The next slice of a subscription: what its next night moves, at what price, and a refusal where that is too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from assets.crawl_index.fetches import Fetches
from assets.crawl_index.held import held_digests
from assets.crawl_index.optouts import Ledger
from assets.crawl_index.plan import Plan
from assets.crawl_index.planning import Share, make_plan
from assets.crawl_index.prices import TABLE, Price, price, usual
from assets.crawl_index.spending import BudgetPassed
from assets.crawl_index.subscription import Subscription
from assets.crawl_index.whole import sized_files

if TYPE_CHECKING:
    from assets.steps.scopes import Refusal


@dataclass(frozen=True)
class Slice:
    """What one night moves of a snapshot: a plan, or whole files (name, bytes). left_usd: what it may cost."""

    snapshot: str
    money: Price
    left_usd: float | None
    plan: Plan | None = None
    files: Sequence[tuple[str, int]] = ()

    def totals(self) -> dict[str, Any]:
        """Records or files, requests, bytes and dollars that it will move, and what it leaves out by reason."""
        if self.plan:
            return self.plan.totals()
        size, requests = sum(size for _, size in self.files), 2 * len(self.files) + 1
        cost = self.money.usd(requests, size)
        return {"snapshot": self.snapshot, "files": len(self.files), "requests": requests, "bytes": size,
                "price": self.money.name, "cost_usd": cost, "left_out": {}}  # fmt: skip


def next_slice(
    one: Subscription,
    snapshot: str,
    crawl_root: str,
    refusal: Refusal | None = None,
    storage_options: dict[str, str] | None = None,
) -> Slice:
    """The next slice of a snapshot after those that the crawl root holds; empty where nothing is left.

    refusal: takedowns. storage_options: of s3:// places. Raises BudgetPassed, and what planning or listing raises.
    """
    fetches = Fetches.read(crawl_root, storage_options)
    money = price(one.price or usual(one.source_root), one.place_of(one.prices) if one.prices else TABLE)
    left = left_usd(one, snapshot, fetches, money)
    if one.by_files:
        files = sized_files(
            one.source_root,
            snapshot,
            one.kind,
            there=fetches.settled_files(snapshot),
            most=one.per_night.files or 1,
            storage_options=storage_options,
        )
        found = Slice(snapshot, money, left, files=files)
    else:
        found = Slice(snapshot, money, left, plan=_plan(one, snapshot, fetches, refusal, money, storage_options))
    cost = found.totals()["cost_usd"]
    if left is not None and cost > left:
        raise BudgetPassed(
            f"the next slice of {snapshot} for {one.name} costs ${cost:.4f}, its budget has ${left:.4f} left: raise the"
            " budget or make per_night smaller"
        )
    return found


def left_usd(one: Subscription, snapshot: str, fetches: Fetches, money: Price) -> float | None:
    """Dollars that the next slice may cost; None where there is no budget."""
    budget, rooms = one.budget, []
    if budget.slice_usd is not None:
        rooms.append(budget.slice_usd)
    if budget.snapshot_usd is not None:
        if one.by_files:
            noted = fetches.noted_files(snapshot)
            spent = money.usd(2 * noted.height, int(noted["bytes"].sum()))
        else:
            spent = sum(done.cost["moved"]["usd"] for done in fetches.of(one, snapshot))
        rooms.append(max(0.0, budget.snapshot_usd - spent))
    return min(rooms) if rooms else None


def _plan(
    one: Subscription,
    snapshot: str,
    fetches: Fetches,
    refusal: Refusal | None,
    money: Price,
    options: dict[str, str] | None,
) -> Plan:
    before = fetches.of(one, snapshot)
    came = sum(done.records for done in before)
    room = None if one.select.limit is None else max(0, one.select.limit - came)
    end = before[-1].facts["slice"]["to"] if before else None
    records = min((n for n in (one.per_night.records, room) if n is not None), default=None)
    made = make_plan(
        one.index_root,
        one.selection(snapshot, limit=one.select.limit),
        source=one.source_root if one.index or "://" not in one.source else None,
        held=pl.concat([fetches.held_digests(), *(held_digests(one.place(h), options) for h in one.held)]).unique(),
        ledger=_ledger([one.place_of(path) for path in one.opt_out]),
        refusal=refusal,
        money=money,
        storage_options=options,
        share=Share(records, one.per_night.bytes, (end[0], end[1]) if end else None),
    )
    part = made.facts["slice"] | {"asks": one.asks(snapshot), "number": len(before)}
    if room is not None and made.records.height >= room:
        part["to"] = None  # the limit is reached
    return replace(made, facts=made.facts | {"slice": part})


def _ledger(paths: list[Path]) -> Ledger:
    """All ledgers as one; of a domain in several the first reason."""
    domains: dict[str, str] = {}
    for path in paths:
        domains = {**Ledger.read(path).domains, **domains}
    return Ledger(domains)
