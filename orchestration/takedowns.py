"""`stemma takedown` and `stemma reach`: the ledger of what is to be removed and of what was, and what holds a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.options import HomeOption, Json, speaks_plainly

if TYPE_CHECKING:
    from assets.steps.scopes import Scope

app = typer.Typer(no_args_is_help=True, help="What is to be removed from everything, who asked, and what became of it.")

Url = Annotated[str | None, typer.Option(help="One page, by its address (http and https are the same).")]
Prefix = Annotated[str | None, typer.Option(help="Every address that begins so, as https://example.org/people/.")]
Host = Annotated[str | None, typer.Option(help="A host with its subdomains.")]
Doc = Annotated[str | None, typer.Option(help="One document, by doc_id.")]
Text = Annotated[Path | None, typer.Option(help="A file with a text: pages of that text, or nearly that text.")]


class ScopeUnclear(ValueError):
    """Not exactly one scope was given, or the file of a text cannot be read."""


def scope_of(url: str | None, prefix: str | None, host: str | None, doc: str | None, text: Path | None) -> "Scope":
    """The one scope among the options. Raises ScopeUnclear, BadScope."""
    from assets.steps.scopes import scope

    given = {"url": url, "prefix": prefix, "host": host, "document": doc, "text": text}
    named = [(kind, value) for kind, value in given.items() if value is not None]
    if len(named) != 1:
        raise ScopeUnclear(f"name one of --url, --prefix, --host, --doc, --text; {len(named)} were given")
    kind, value = named[0]
    if isinstance(value, Path):
        try:
            value = value.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ScopeUnclear(f"the text in {text} cannot be read as UTF-8: {error}") from error
    return scope(kind, value)


@app.command()
@speaks_plainly
def add(
    by: Annotated[str, typer.Option(help="Who asks: a name and an address.")],
    why: Annotated[str, typer.Option(help="The reason, in words.")],
    url: Url = None,
    prefix: Prefix = None,
    host: Host = None,
    doc: Doc = None,
    text: Text = None,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Write a request into the ledger. From then on the pages are refused wherever they would be read."""
    from assets.steps.ledger import Ledger
    from orchestration.display import emit
    from orchestration.home import locate, require

    wanted = scope_of(url, prefix, host, doc, text)
    ledger = Ledger(require(locate(home)).root)
    entry, new = ledger.add(wanted, by, why)
    if as_json:
        emit({**shown(entry.to_json()), "status": ledger.status(entry.number), "new": new})
        return
    said = "is in the ledger" if new else f"is there already, {ledger.status(entry.number)}, since {entry.asked_at}"
    typer.echo(f"takedown {entry.number} ({entry.scope}) {said}")


@app.command("list")
@speaks_plainly
def list_takedowns(home: HomeOption = None, as_json: Json = False) -> None:
    """Every request: what, who, why, when, and how far it is."""
    from assets.steps.ledger import Ledger
    from orchestration.display import emit
    from orchestration.home import locate, require

    ledger = Ledger(require(locate(home)).root)
    rows = [{**shown(entry.to_json()), "status": ledger.status(entry.number)} for entry in ledger.entries()]
    if as_json:
        emit(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(rows)} takedowns", title_justify="left")
    for column in ("number", "status", "kind", "value", "by", "why", "asked_at"):
        table.add_column(column, overflow="fold")
    for row in rows:
        values = {**row, **row["scope"]}
        table.add_row(*(str(values[column.header]) for column in table.columns))
    Console().print(table)


@app.command("apply")
@speaks_plainly
def apply_takedowns(home: HomeOption = None, as_json: Json = False) -> None:
    """Remove what the ledger asks for from every table, version and shard; mark the models that had seen it."""
    from assets import policy
    from assets.occupied import taking_out
    from assets.resources import LakeResource, RecipeResource
    from assets.steps.ledger import Ledger
    from assets.takedowns import apply
    from orchestration.display import emit, live_progress
    from orchestration.engines.choose import engine
    from orchestration.home import alone, locate, require
    from orchestration.runs import refuse_while_running

    place = require(locate(home))
    rules = policy.load(RecipeResource().chosen_policy(place.root))
    steps = 0
    with alone(place), taking_out(place.root), live_progress(as_json) as progress:
        refuse_while_running(place)
        progress.begin("takedowns", None)

        def show(step: str) -> None:
            nonlocal steps
            steps += 1
            progress.advance("takedowns", steps, None, step)

        reports = apply(LakeResource().open(), engine(), rules, show)
    if as_json:
        emit(reports)
        return
    if not reports:
        typer.echo("nothing to do: every takedown in the ledger is applied")
    for report in reports:
        number = report["asked"]["number"]
        rows = ", ".join(f"{n} of {name}" for name, n in report["deleted"].items()) or "no rows"
        typer.echo(f"takedown {number}: {len(report['found'])} pages found; deleted {rows}")
        for model in report["marked"]:
            typer.echo(f"  {model['asset']} {model['version']} had seen it: outdated because of takedown {number}")
        for data in report["descendants"]:
            typer.echo(f"  {data['asset']} {data['version']}: {data['rows']} rows {data['what']}")
        for export in report["out_of_reach"]:
            there = (
                "is marked by a note in it: delete it" if export["marked"] else "is there no more: find where it went"
            )
            typer.echo(f"  the export {export['place']} {there}")
        if report["near"]:
            typer.echo(f"  {len(report['near'])} further pages are nearly the same; look at the report")
        typer.echo(f"  report: {Ledger(place.root).folder / f'{number:08d}' / 'report.json'}")


def reach(
    url: Url = None,
    prefix: Prefix = None,
    host: Host = None,
    doc: Doc = None,
    text: Text = None,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Name everything that holds a page: tables, token shards, models, exports; and whether each is outdated."""
    from orchestration import reaching
    from orchestration.home import lake_of, locate, require

    place = require(locate(home))
    with reaching.surveying(place) as states:
        wanted = scope_of(url, prefix, host, doc, text)
        from assets.reach import reach as find

        reaching.show(find(lake_of(place), wanted), states(), as_json)


def shown(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry as people and machines see it: of a text its fingerprint, without the signature's 1,792 digits."""
    return {**entry, "scope": {name: entry["scope"][name] for name in ("kind", "value")}}
