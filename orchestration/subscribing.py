"""`stemma crawl subscribe` and `due`: what is followed, and what the next night would move and cost."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestration.options import HomeOption, Json

Many = list[str] | None
COMMON_CRAWL = "https://data.commoncrawl.org"


def subscribe(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    follow: Annotated[Many, typer.Option(help="newest, news, or a snapshot; repeatable for snapshots.")] = None,
    source: Annotated[str, typer.Option(help="s3://, https:// or a folder, laid out as Common Crawl.")] = COMMON_CRAWL,
    language: Annotated[Many, typer.Option(help="ISO 639-3, as eng; repeatable.")] = None,
    host: Annotated[Many, typer.Option(help="Exact host; repeatable, or @FILE with one a line.")] = None,
    domain: Annotated[Many, typer.Option(help="Registered domain; repeatable, or @FILE.")] = None,
    since: Annotated[str | None, typer.Option(help="First day of news, as 2026-11-01.")] = None,
    records: Annotated[int | None, typer.Option(min=1, help="A night takes so many records.")] = None,
    size: Annotated[int | None, typer.Option("--bytes", min=1, help="A night takes so many bytes.")] = None,
    files: Annotated[int | None, typer.Option(min=1, help="A night takes so many whole files.")] = None,
    slice_usd: Annotated[float | None, typer.Option(min=0, help="Most dollars of a night's slice.")] = None,
    snapshot_usd: Annotated[float | None, typer.Option(min=0, help="Most dollars of a snapshot.")] = None,
    opt_out: Annotated[list[Path] | None, typer.Option(help="Ledger of domains that opted out; repeatable.")] = None,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Add a subscription to the home's file; nothing moves. All fields: crawl_index/subscriptions.example.yaml."""
    import yaml

    from assets.crawl_index.subscriptions import FILE, find, load
    from assets.parts import sync
    from orchestration import display
    from orchestration.home import locate

    root = locate(home).root
    path = find(root) or root / FILE
    asked = follow or ["newest"]
    entry = _filled(
        {
            "name": name,
            "follow": asked[0] if asked in (["newest"], ["news"]) else asked,
            "source": source if "://" in source else str(Path(source).absolute()),
            "since": since,
            "select": _filled({"languages": language, "hosts": _from_here(host), "domains": _from_here(domain)}),
            "per_night": _filled({"records": records, "bytes": size, "files": files}),
            "budget": _filled({"slice_usd": slice_usd, "snapshot_usd": snapshot_usd}),
            "opt_out": [str(one.absolute()) for one in opt_out or []],
        }
    )
    before = path.read_text("utf-8").rstrip("\n") + "\n" if path.is_file() else "subscriptions:\n"
    lines = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True).splitlines()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(before + "".join(f"  {line}\n" for line in lines), "utf-8")
    try:
        load(temporary)
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if as_json:
        display.emit({"file": str(path), "subscription": entry})
    else:
        typer.echo(f"{path}: {name} is followed. What the next night would move: stemma crawl due")


def due(
    home: HomeOption = None,
    root: Annotated[str | None, typer.Option("--crawl", help="Crawl root (default: $STEMMA_CRAWL).")] = None,
    as_json: Json = False,
) -> None:
    """Say what the next night would fetch for each subscription, what it leaves out and costs; nothing moves."""
    from assets.crawl_index.spending import BudgetPassed
    from assets.crawl_index.subscriptions import discover, find, load
    from assets.resources import CrawlResource
    from assets.steps.ledger import Ledger
    from orchestration import display
    from orchestration.home import locate

    place = locate(home).root
    found: list[dict[str, Any]] = []
    for one in discover(load(find(place)), root or CrawlResource().place):
        try:
            totals = one.totals(Ledger(place).refusal())
        except BudgetPassed as error:
            totals = {"snapshot": one.snapshot, "subscription": one.subscription.name, "refused": str(error)}
        found.append(totals | {"why": one.why})
    if as_json:
        display.emit({"due": found})
    else:
        show(found)


def show(found: list[dict[str, Any]]) -> None:
    """What is due, for people."""
    from rich.console import Console
    from rich.table import Table

    console, table = Console(), Table()
    for name in ("subscription", "snapshot", "records or files", "requests", "bytes", "cost", "left out", "why"):
        table.add_column(name, justify="right" if name in ("requests", "bytes", "cost") else "left")
    for one in found:
        if "refused" in one:
            table.add_row(one["subscription"], one["snapshot"], "refused", "", "", "", "", one["refused"])
            continue
        number = f"{one['records']:,} records" if "records" in one else f"{one['files']:,} files"
        left_out = ", ".join(f"{reason} {count:,}" for reason, count in one["left_out"].items())
        cost = f"${one['cost_usd']:.4f}"
        moved = (number, f"{one['requests']:,}", f"{one['bytes']:,}", cost)
        table.add_row(one["subscription"], one["snapshot"], *moved, left_out, one["why"])
    if found:
        console.print(table)
    else:
        console.print("nothing is due", highlight=False)


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def _from_here(values: Many) -> Many:
    """@FILE by its whole path, for the file of subscriptions lies elsewhere."""
    return [f"@{Path(one[1:]).absolute()}" if one.startswith("@") else one for one in values or []]
