"""`stemma reach`: what holds some pages, from table rows to exports, and whether each of it is outdated already."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestration.display import emit
from orchestration.lineage import Node, State

if TYPE_CHECKING:
    from assets.reach import Holding, Reach

PAGES_SHOWN = 10


def state_of(holding: "Holding", states: Mapping[Node, State]) -> str:
    """How a holding stands: current, outdated, superseded (another version is in use) or, of exports, out of reach."""
    if holding.what == "export":
        return "out of reach"
    state = states.get(Node(holding.asset, holding.partition))
    if not holding.current or (state is not None and state.data_version not in (None, holding.version)):
        return "superseded"
    return "unknown" if state is None else state.status


def to_json(found: "Reach", states: Mapping[Node, State]) -> dict[str, Any]:
    """Everything for machines. `because`: the causes of what is outdated."""
    held = []
    for one in found.holdings:
        state = states.get(Node(one.asset, one.partition))
        because = [str(cause) for cause in state.causes] if state is not None else []
        held.append({**one.to_json(), "state": state_of(one, states), "because": because})
    return {
        "scope": {"kind": found.scope.kind, "value": found.scope.value},
        "pages": found.pages.to_dicts(),
        "held_by": held,
        "near": found.near.to_dicts(),
    }


def show(found: "Reach", states: Mapping[Node, State], as_json: bool) -> None:
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
