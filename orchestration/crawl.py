"""`stemma crawl`: which records to take from Common Crawl's index, at what price, and the fetch of them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestration import subscribing
from orchestration.options import HomeOption, Json, speaks_plainly

app = typer.Typer(no_args_is_help=True, help="Take records from Common Crawl by its index: plan what it costs, fetch.")
app.command("subscribe")(speaks_plainly(subscribing.subscribe))
app.command("due")(speaks_plainly(subscribing.due))

COMMON_CRAWL = "https://data.commoncrawl.org"
PAGE_TYPES = ["text/html", "application/xhtml+xml"]

Many = list[str] | None


@app.command()
@speaks_plainly
def plan(
    snapshot: Annotated[str, typer.Argument(help="As CC-MAIN-2024-22.")],
    index: Annotated[str, typer.Option(help="Index: s3://, https://, a folder or a Parquet file.")] = COMMON_CRAWL,
    source: Annotated[str | None, typer.Option(help="Where the WARC files lie (default: as the index).")] = None,
    language: Annotated[Many, typer.Option(help="ISO 639-3, as eng; repeatable.")] = None,
    host: Annotated[Many, typer.Option(help="Exact host; repeatable, or @FILE with one a line.")] = None,
    domain: Annotated[Many, typer.Option(help="Registered domain; repeatable, or @FILE.")] = None,
    mime: Annotated[Many, typer.Option(help="Detected type, or 'any' (default: HTML and XHTML).")] = None,
    status: Annotated[list[int] | None, typer.Option(help="HTTP status (default: 200).")] = None,
    digest: Annotated[Many, typer.Option(help="base32 sha1 of a payload; repeatable, or @FILE.")] = None,
    min_bytes: Annotated[int | None, typer.Option(min=0, help="Of the compressed record.")] = None,
    max_bytes: Annotated[int | None, typer.Option(min=1, help="Of the compressed record.")] = None,
    whole_only: Annotated[bool, typer.Option("--whole-only", help="Leave out what the crawler cut off.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many, in the index's order.")] = None,
    held: Annotated[
        Many, typer.Option(help="Home of a lake, Parquet file or list: digests not to fetch again.")
    ] = None,
    opt_out: Annotated[Path | None, typer.Option(help="Ledger of domains that opted out, one a line.")] = None,
    price: Annotated[str | None, typer.Option(help="Line of the price table (default: by the source).")] = None,
    prices: Annotated[Path | None, typer.Option(help="Another price table than the one that comes along.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the plan here; beside it what is left out and why.")] = None,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Say what a selection would move and cost, before it moves; with --out, write the plan.

    Takedowns of the home are honoured.
    """
    import polars as pl

    from assets.crawl_index.held import held_digests
    from assets.crawl_index.optouts import Ledger
    from assets.crawl_index.plan import left_out_path, write_plan
    from assets.crawl_index.planning import make_plan
    from assets.crawl_index.prices import TABLE, usual
    from assets.crawl_index.prices import price as priced
    from assets.crawl_index.selection import Selection, named
    from assets.steps.ledger import Ledger as Takedowns
    from orchestration import display
    from orchestration.home import locate

    types = mime or PAGE_TYPES
    selection = Selection(
        snapshot,
        languages=named(language),
        mimes=() if "any" in types else named(types),
        statuses=tuple(status or [200]),
        hosts=named(host),
        domains=named(domain),
        digests=named(digest),
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        truncated=not whole_only,
        limit=limit,
    )
    table = prices or TABLE
    made = make_plan(
        index,
        selection,
        source=source,
        held=pl.concat([held_digests(one) for one in held]).unique() if held else None,
        ledger=Ledger.read(opt_out) if opt_out else None,
        refusal=Takedowns(locate(home).root).refusal(),
        money=priced(price, table) if price else priced(usual(source or index), table),
    )
    totals = made.totals()
    if out:
        totals |= {"plan": str(out), "sha256": write_plan(made, out), "left_out_list": str(left_out_path(out))}
    if as_json:
        display.emit(totals)
    else:
        show_plan(totals)


@app.command()
@speaks_plainly
def fetch(
    plan: Annotated[Path, typer.Argument(help="A plan that `stemma crawl plan --out` wrote.")],
    out: Annotated[Path, typer.Option(help="Crawl root: WARC files go to OUT/<snapshot>/.")],
    source: Annotated[str | None, typer.Option(help="Another place of the same WARC files than the plan's.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Requests at once; fewer when asked to.")] = 8,
    attempts: Annotated[int, typer.Option(min=1, help="Of a request, without a record coming.")] = 8,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds without a byte.")] = 30.0,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Fetch a plan's records, verified; interrupted, the same command goes on where it was.

    What was taken down in the home since is left out.
    """
    from dataclasses import asdict

    from assets.crawl_index.fetch import fetch as fetch_plan
    from assets.crawl_index.moving import Limits
    from assets.steps.ledger import Ledger as Takedowns
    from orchestration import display
    from orchestration.home import locate

    watch = display.Stopwatch()
    limits = Limits(concurrency=concurrency, attempts=attempts, timeout_s=timeout)
    with display.live_progress(as_json) as progress:
        progress.begin("fetch", plan.name)
        outcome = fetch_plan(
            plan,
            out,
            source=source,
            refusal=Takedowns(locate(home).root).refusal(),
            limits=limits,
            progress=lambda done, total: progress.advance("fetch", done, total, "records"),
        )
    found = {**asdict(outcome), "seconds": watch.seconds, "out": str(out)}
    if as_json:
        display.emit(found)
    else:
        show_outcome(found)


@app.command()
@speaks_plainly
def files(
    snapshot: Annotated[str, typer.Argument(help="CC-MAIN-2024-22, CC-NEWS-2024-05 or CC-NEWS-2024-05-17.")],
    source: Annotated[str, typer.Option(help="s3://, https:// or a folder, laid out as Common Crawl.")] = COMMON_CRAWL,
    kind: Annotated[str, typer.Option(help="warc, wet or robotstxt.")] = "warc",
    limit: Annotated[int, typer.Option(min=1, help="The next so many that are not there yet.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Fetch them to OUT/<snapshot>/; without it, only say.")] = None,
    price: Annotated[str | None, typer.Option(help="Line of the price table (default: by the source).")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Files at once; fewer when asked to.")] = 4,
    as_json: Json = False,
) -> None:
    """Whole files of a snapshot by its published list: the news crawl has no index. Interrupted, go on by the same
    command."""
    from assets.crawl_index.moving import Limits
    from assets.crawl_index.prices import price as priced
    from assets.crawl_index.prices import usual
    from assets.crawl_index.selection import BadSelection
    from assets.crawl_index.whole import KINDS, fetch_files
    from orchestration import display

    if kind not in KINDS:
        raise BadSelection(f"no kind {kind!r} of files is published: there are {', '.join(KINDS)}")
    money = priced(price or usual(source))
    with display.live_progress(as_json) as progress:
        progress.begin("fetch", snapshot)
        sized, made = fetch_files(
            source,
            snapshot,
            out,
            kind=kind,
            most=limit,
            limits=Limits(concurrency=concurrency),
            progress=lambda done, total: progress.advance("fetch", done, total, "files"),
        )
    size = sum(one for _, one in sized)
    cost = money.usd(2 * len(sized) + 1, size)
    if not as_json:
        show_files(sized, made.files, cost, out)
        return
    display.emit(
        {
            "snapshot": snapshot,
            "source": source,
            "files": [{"name": name, "bytes": one} for name, one in sized],
            "bytes": size,
            "price": money.name,
            "cost_usd": cost,
            "fetched": len(made.files),
            "damaged": sum(row[-1] is not None for row in made.files),
            "missing": made.missing,
            "moved_bytes": made.bytes,
        }
    )


@app.command()
@speaks_plainly
def unpack(
    wacz: Annotated[list[Path], typer.Argument(help="WACZ files.")],
    out: Annotated[Path, typer.Option(help="Crawl root: WARC files go to OUT/<snapshot>/.")],
    snapshot: Annotated[str, typer.Option(help="Name of the snapshot that they become.")] = "wacz",
    as_json: Json = False,
) -> None:
    """Put the WARC files inside WACZ files into a crawl root, sizes and digests checked."""
    from assets.crawl_index.selection import Selection
    from assets.crawl_index.wacz import unpack as unpack_file
    from orchestration import display

    folder = out / Selection(snapshot).snapshot
    made = [one for path in wacz for one in unpack_file(path, folder)]
    if as_json:
        display.emit({"out": str(folder), "files": [dict(zip(("name", "bytes", "sha256"), one)) for one in made]})
        return
    for name, size, _ in made:
        typer.echo(f"{folder / name}  {size:,} bytes")


@app.command()
@speaks_plainly
def robots(
    warc: Annotated[list[Path], typer.Argument(help="WARC files or folders with robots.txt or tdmrep.json records.")],
    out: Annotated[Path, typer.Option(help="The ledger: for --opt-out and for subscriptions.")],
    agent: Annotated[Many, typer.Option(help="User agent that must be let in; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Write a ledger of the hosts whose robots.txt or tdmrep.json keeps text miners out of the whole site."""
    from assets.crawl_index.robots import AGENTS, opted_out
    from assets.parts import sync
    from orchestration import display
    from orchestration.inputs import InputMissing, expand

    paths = expand(warc)
    if missing := next((path for path in paths if not path.is_file()), None):
        raise InputMissing(f"{missing}: no such file")
    found = opted_out(paths, tuple(agent or AGENTS))
    temporary = out.with_name(f".{out.name}.tmp")
    temporary.write_text(found.lines())
    sync(temporary)
    temporary.replace(out)
    counts = {"hosts": len(found.hosts), "read": found.read, "in_part": found.in_part, "broken": found.broken}
    if as_json:
        display.emit({"out": str(out), **counts})
    else:
        typer.echo(
            f"{out}: {counts['hosts']:,} hosts opted out, of {counts['read']:,} files; {counts['in_part']:,} in part"
        )


def show_files(sized: list[tuple[str, int]], fetched: list[tuple], cost: float, out: Path | None) -> None:
    """Whole files for people."""
    from rich.console import Console

    console = Console()
    for name, size in sized:
        console.print(f"{name}  {size:,} bytes" if size else f"{name}  missing", highlight=False, soft_wrap=True)
    total = f"{len(sized)} files, {sum(size for _, size in sized):,} bytes, ${cost:.4f}"
    done = f"{len(fetched)} fetched to {out}" if out else "nothing was fetched: give --out FOLDER"
    console.print(f"{total}; {done}", highlight=False, soft_wrap=True)


def show_plan(totals: dict[str, Any]) -> None:
    """A plan's figures for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{totals['snapshot']} from {totals['source']}", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    for name in ("records", "warc_files", "streamed_files", "requests", "bytes", "record_bytes", "outputs"):
        table.add_row(name.replace("_", " "), f"{totals[name]:,}")
    table.add_row(f"cost ({totals['price']})", f"${totals['cost_usd']:.4f}")
    for reason, number in totals["left_out"].items():
        table.add_row(f"left out: {reason}", f"{number:,}")
    console = Console()
    console.print(table)
    if "plan" in totals:
        console.print(f"next: stemma crawl fetch {totals['plan']} --out CRAWL", highlight=False, soft_wrap=True)
    else:
        console.print("nothing was written: give --out PLAN.parquet to keep the plan", highlight=False)


def show_outcome(found: dict[str, Any]) -> None:
    """What a fetch made, for people."""
    from rich.console import Console

    console = Console()
    for name, _, size in found["files"]:
        console.print(f"{found['out']}/{name}  {size:,} bytes", highlight=False, soft_wrap=True)
    rejects = ", ".join(f"{reason} {number}" for reason, number in found["rejects"].items()) or "none"
    console.print(
        f"{found['records']:,} records, {found['requests']:,} requests, {found['bytes']:,} bytes,"
        f" {found['seconds']:.1f} s; rejected: {rejects} (see {found['out']}/fetches)",
        highlight=False,
        soft_wrap=True,
    )
