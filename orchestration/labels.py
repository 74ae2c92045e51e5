"""`stemma labels`: what people said of pages, in and out as JSON lines, and how far they agree."""

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestration.options import HomeOption, Json, emit, speaks_plainly

app = typer.Typer(no_args_is_help=True, help="Labels of people on pages; `stemma ui` has the queue, at /labels.")


@app.command("list")
@speaks_plainly
def list_labels(
    by: Annotated[str | None, typer.Option(help="Only what this labeller said.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Show at most so many, the newest.")] = 20,
    doc: Annotated[str | None, typer.Option(help="All that was ever said of this page, by doc_id.")] = None,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """What was said in one go, the newest first; what was undone is among it."""
    from dataclasses import asdict

    if doc is not None:
        _show_page(_store(home).of_page(doc), as_json)
        return
    batches = _store(home).batches(by, most)
    if as_json:
        emit([asdict(one) for one in batches])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"the newest {len(batches)} of what was said", title_justify="left")
    for column in ("made_at", "labeller", "label", "pages", "filter", "batch"):
        table.add_column(column, overflow="fold")
    for one in batches:
        said = (one.label or "several") + (" (undone)" if one.undone else "")
        source = ", ".join(f"{name}={value}" for name, value in one.source.items())
        table.add_row(one.made_at, one.labeller, said, str(one.pages), source, one.id)
    Console().print(table)


@app.command("export")
@speaks_plainly
def export_labels(
    out: Annotated[Path | None, typer.Argument(help="File to write (default: standard output).")] = None,
    home: HomeOption = None,
) -> None:
    """The newest label of every labeller on every page, as JSON lines."""
    from assets.judgements.lines import write
    from models.artifacts import write_atomic

    lines = "".join(write(_store(home).newest()))
    if out is None:
        typer.echo(lines, nl=False)
    else:
        write_atomic(out, lines.encode())


@app.command("import")
@speaks_plainly
def import_labels(
    file: Annotated[Path, typer.Argument(help="JSON lines with doc_id and label; tags, note, labeller where wanted.")],
    by: Annotated[str | None, typer.Option(help="Labeller of the lines that name none.")] = None,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Add labels from a file: all of its lines, or none and the line that is wrong."""
    from assets.judgements.lines import bring_in
    from orchestration.home import lake_of, locate, require

    place = require(locate(home))
    store = _store(home)
    ids = set(bring_in(store, lake_of(place), file, by))
    added = [one for one in store.batches() if one.id in ids]
    if as_json:
        emit({"labels": sum(one.pages for one in added), "batches": sorted(ids)})
        return
    for one in sorted(added, key=lambda one: one.number):
        typer.echo(f"{one.pages} labels of {one.labeller}, as batch {one.id}")


@app.command()
@speaks_plainly
def agreement(home: HomeOption = None, as_json: Json = False) -> None:
    """Cohen's kappa of every two labellers who judged pages in common, with its 95% interval."""
    from dataclasses import asdict

    from assets.judgements.report import kappa_shown
    from assets.judgements.standing import agreements, rows

    found = agreements(rows(_store(home)))
    if as_json:
        emit([{"labellers": [one, other], **asdict(measured)} for one, other, measured in found])
        return
    if not found:
        typer.echo("no two people labelled the same page yet")
    for one, other, measured in found:
        shown = f"{measured.n} pages of both, the same on {measured.observed:.0%}, kappa {kappa_shown(measured)}"
        typer.echo(f"{one} and {other}: {shown}")


def _show_page(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        emit(rows)
        return
    for row in rows:
        tags = f" [{', '.join(row['tags'])}]" if row["tags"] else ""
        undone = ", undone since" if row["undone"] else ""
        typer.echo(f"{row['made_at']} {row['labeller']}: {row['label']}{tags}{undone}")
    if not rows:
        typer.echo("nobody has said anything of this page")


def _store(home: Path | None) -> Any:
    from assets.judgements.store import Judgements
    from orchestration.home import locate, require

    return Judgements(require(locate(home)).root)
