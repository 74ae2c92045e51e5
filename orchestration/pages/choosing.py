"""Which policy a page speaks of: the one that decided, the one that the home goes by, or any other by name."""

import os
from dataclasses import dataclass
from pathlib import Path

from assets import policy as policies
from assets.policy import Policy, PolicyError
from assets.resources import RecipeResource
from assets.safe_text import shown
from orchestration.pages.site import Site

REMEMBERED = 64  # policies that are kept in memory; a saved version never changes


class UnknownPolicy(LookupError):
    """No policy of that name is here."""


@dataclass(frozen=True)
class Choice:
    """The policies of a page: `shown` is what it speaks of; `decided` is what the tables were decided by (None: by
    several, by none, or by one that is here no more); `goes_by` is what the home goes by; `problem` says why not."""

    shown: Policy
    decided: Policy | None
    decided_id: str | None
    goes_by: Policy | None
    problem: str = ""

    @property
    def is_what_if(self) -> bool:
        """Whether the tables say something else than what is shown."""
        return self.decided is None or self.shown.digest != self.decided.digest

    @property
    def is_behind(self) -> bool:
        """Whether the home goes by another policy than its pages were decided by."""
        return self.goes_by is not None and self.goes_by.id != self.decided_id


def choose(site: Site, asked: str | None, decided_id: str | None) -> Choice:
    """The policy that is asked for, else the one that decided, else the one that the home goes by. Raises
    UnknownPolicy, PolicyError."""
    goes_by, problem = None, ""
    try:
        goes_by = _remembered(site, RecipeResource().chosen_policy(site.home))
    except PolicyError as error:
        problem = str(error)
    decided = _known(site, decided_id, goes_by) if decided_id else None
    wanted = _known(site, asked, goes_by) if asked else decided or goes_by or policies.load("fineweb")
    if wanted is None:
        listed = ", ".join(names(site))
        raise UnknownPolicy(f"no policy is called {shown(asked or '', 60)}: there are {listed}")
    return Choice(wanted, decided, decided_id, goes_by, problem)


def names(site: Site) -> list[str]:
    """Ids and names of the policies that can be asked for, those of the home last."""
    return policies.available(site.home)


def load(site: Site, name: str) -> Policy:
    """The policy of that name in this home. Raises UnknownPolicy."""
    found = _known(site, name, None)
    if found is None:
        raise UnknownPolicy(f"no policy is called {shown(name, 60)}: there are {', '.join(names(site))}")
    return found


def overruled_by() -> str | None:
    """What the environment says, which counts more than the home's choice."""
    return os.environ.get("STEMMA_POLICY") or None


def _known(site: Site, name: str | None, goes_by: Policy | None) -> Policy | None:
    """None: no policy has that name here. Addresses hold names alone, never files."""
    if goes_by is not None and name == goes_by.id:
        return goes_by  # also where it is a file
    if not name or name.partition("@")[0] not in {one.partition("@")[0] for one in names(site)}:
        return None
    try:
        return _remembered(site, policies.located(name, site.home))
    except PolicyError:
        return None


def _remembered(site: Site, reference: str) -> Policy:
    """Read once, if it is one that never changes: shipped, or a saved version. Raises PolicyError."""
    kept = site.kept.setdefault("policies", {})
    if reference in kept:
        return kept[reference]
    found = policies.load(reference, site.home)
    if Path(reference).stem == found.id or reference.partition("@")[0] in policies.available():
        if len(kept) >= REMEMBERED:
            kept.clear()
        kept[reference] = found
    return found
