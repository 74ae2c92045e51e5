"""The ledger as pages show it: requests in the order of their numbers, what state each is in, what a page falls under.

Entries of the ledger never change, so those that were read once are kept; one listing of the folder says whether there
are more.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assets.steps.ledger import FOLDER, FOUND, REPORT, Ledger, Takedown, refusal
from assets.steps.scopes import Refusal
from orchestration.pages.site import Site

PAGES_SHOWN = 100  # of a report


@dataclass(frozen=True)
class Entry:
    """A request and how far it is: "asked", "begun" or "applied". `pages`: how many it was about; None: not looked for
    yet."""

    takedown: Takedown
    status: str
    pages: int | None


@dataclass(frozen=True)
class Known:
    """All requests, and what refuses the pages that they are about."""

    newest: str
    entries: list[Takedown]
    refusal: Refusal


def known(site: Site) -> Known:
    """The requests as they are now. Raises DamagedLedger."""
    newest = _newest(site)
    kept: Known | None = site.kept.get("ledger")
    if kept is None or kept.newest != newest:
        entries = Ledger(site.home).entries()
        kept = site.kept["ledger"] = Known(newest, entries, refusal(entries))
    return kept


def shown(site: Site, takedowns: Sequence[Takedown]) -> list[Entry]:
    """Some requests with their state."""
    ledger = Ledger(site.home)
    return [Entry(one, ledger.status(one.number), _pages(site, ledger, one.number)) for one in takedowns]


def waiting(site: Site) -> int:
    """How many requests are not applied yet."""
    ledger = Ledger(site.home)
    return sum(ledger.status(one.number) != "applied" for one in known(site).entries)


def report_of(site: Site, number: int) -> dict[str, Any] | None:
    """What applying a request did; what it had found where it was not finished; None where it was not begun."""
    ledger = Ledger(site.home)
    return ledger.read(number, REPORT) or ledger.read(number, FOUND)


def _pages(site: Site, ledger: Ledger, number: int) -> int | None:
    """Pages of a request. Of one that is applied they stay what they are, so its file is read once."""
    counts: dict[int, int] = site.kept.setdefault("ledger pages", {})
    if number in counts:
        return counts[number]
    found = ledger.read(number, FOUND)
    if found is None:
        return None
    if ledger.status(number) == "applied":
        counts[number] = len(found["pages"])
    return len(found["pages"])


def _newest(site: Site) -> str:
    try:
        return max((one.name for one in os.scandir(site.home / FOLDER) if one.name.endswith(".json")), default="")
    except FileNotFoundError:
        return ""
