"""`stemma reach`: what holds some pages, from table rows to exports, and whether each of it is outdated already.

How the graph stands is looked up in a process of its own (orchestration/standing.py), while this one reads the tables:
each takes about a second of imports and look-ups, and neither needs the other.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestration.home import Home
from orchestration.options import emit

if TYPE_CHECKING:
    from assets.descent import Holding
    from assets.reach import Reach

PAGES_SHOWN = 10
SURVEY = [sys.executable, "-m", "orchestration.standing"]

States = Mapping[tuple[str, str], Mapping[str, Any]]  # (asset, partition or "") → its row of lineage.to_json


class SurveyFailed(RuntimeError):
    """How the graph stands cannot be said; the message is that of the process that looked."""


@contextmanager
def surveying(home: Home) -> Iterator[Callable[[], States]]:
    """Starts to look at the graph; the function waits for the answer. Raises SurveyFailed then."""
    process = subprocess.Popen([*SURVEY, str(home.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def states() -> States:
        said, errors = process.communicate()
        if process.returncode != 0:
            raise SurveyFailed((errors.strip().splitlines() or ["the look at the graph ended without a word"])[-1])
        return {(row["asset"], row["partition"] or ""): row for row in json.loads(said)}

    try:
        yield states
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def state_of(holding: "Holding", states: States) -> str:
    """How a holding stands: current, outdated, superseded (another version is in use) or, of exports, out of reach."""
    if holding.what == "export":
        return "out of reach"
    own = states.get((holding.asset, holding.partition))
    if not holding.current or (own is not None and own["data_version"] not in (None, holding.version)):
        return "superseded"
    state = _row(holding, states)
    return "unknown" if state is None else state["status"]


def _row(holding: "Holding", states: States) -> Mapping[str, Any] | None:
    """The asset's row; of a table that an asset makes beside its own, or of all snapshots at once, its maker's."""
    from assets.schemas import TABLES

    if (own := states.get((holding.asset, holding.partition))) is not None:
        return own
    made_by = TABLES[holding.asset].made_by.removeprefix("the asset ") if holding.asset in TABLES else holding.asset
    return states.get((made_by, holding.partition)) or states.get((made_by, ""))


def to_json(found: "Reach", states: States) -> dict[str, Any]:
    """Everything for machines. `because`: the causes of what is outdated."""
    held = []
    for one in found.holdings:
        because = [cause["text"] for cause in (_row(one, states) or {"because": []})["because"]]
        held.append({**one.to_json(), "state": state_of(one, states), "because": because})
    return {
        "scope": {"kind": found.scope.kind, "value": found.scope.value},
        "pages": found.pages.to_dicts(),
        "held_by": held,
        "near": found.near.to_dicts(),
    }


def show(found: "Reach", states: States, as_json: bool) -> None:
    """The answer, as JSON or for people."""
    if as_json:
        emit(to_json(found, states))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(f"{found.pages.height} pages of {found.scope}", highlight=False, soft_wrap=True)
    for page in found.pages.head(PAGES_SHOWN).to_dicts():
        console.print(f"  {page['doc_id']} {page['url']}", highlight=False, soft_wrap=True)
    table = Table(title=f"held by {len(found.holdings)}", title_justify="left")
    for column in ("what", "version", "as", "documents", "tokens", "rows", "state"):
        table.add_column(column, overflow="fold")
    for one in found.holdings:
        name = one.place or (f"{one.asset}[{one.partition}]" if one.partition else one.asset)
        tokens = f"{one.tokens:,}" if one.tokens else ""
        rows = f"{one.rows:,}" if one.rows else ""
        table.add_row(
            escape(name), one.version[:12], one.what, f"{one.documents:,}", tokens, rows, state_of(one, states)
        )
    console.print(table)
    if found.near.height:
        console.print(f"{found.near.height} further pages are nearly these; ask for them by --doc:", highlight=False)
        for page in found.near.to_dicts():
            console.print(f"  {page['doc_id']} {page['url']} (of {page['of']})", highlight=False, soft_wrap=True)
