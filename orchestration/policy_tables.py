"""Policies and their effects as tables for people and one JSON document for machines; where annotations are found."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.table import Table

from assets import policy as policies
from assets.policy import Effect, Policy
from assets.policy.changing import EVERYWHERE
from assets.policy.effects import KEPT, Count
from assets.resources import LakeResource
from orchestration.display import emit, number
from orchestration.home import locate, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assets.policy import Saved

ROWS_SHOWN = 15


class AnnotationsMissing(LookupError):
    """The folder holds no annotations: it is none that `stemma corpus` wrote."""


class UnknownStatistic(LookupError):
    """No annotation of that name holds numbers."""


class OnePlaceAtATime(ValueError):
    """Both a home and a folder of `stemma corpus` were named."""


def annotations(home: Path | None, corpus: Path | None, snapshot: str | None = None) -> pl.LazyFrame:
    """What a policy may look at, for every page of a home (one snapshot or all) or of a `stemma corpus` folder.

    Raises OnePlaceAtATime, AnnotationsMissing, HomeMissing, TableMissing.
    """
    if corpus is None:
        from assets.steps.decide import annotated

        require(locate(home))
        return annotated(LakeResource().open(), snapshot)
    if home is not None or snapshot is not None:
        raise OnePlaceAtATime("--corpus names a folder of its own: give no --home and no --snapshot beside it")
    files = sorted((corpus / "annotations").glob("*.parquet"))
    if not files:
        raise AnnotationsMissing(f"{corpus} holds no annotations: name a folder that `stemma corpus` wrote")
    return pl.scan_parquet(files)


def show_list(listed: "Sequence[Policy]", as_json: bool) -> None:
    """Name, parents, number of rules and languages, and the digest of each."""
    if as_json:
        emit([_heading(policy) for policy in listed])
        return
    table = Table(title="Policies", title_justify="left")
    for column in ("policy", "extends", "rules", "languages", "what it is"):
        table.add_column(column, overflow="fold", justify="right" if column in ("rules", "languages") else "left")
    for policy in listed:
        counts = (str(len(policy.rules)), str(len(policy.languages) or ""))
        table.add_row(policy.id, ", ".join(policy.parents), *counts, policy.description)
    Console().print(table)


def show_policy(policy: Policy, language: str | None, as_json: bool) -> None:
    """Its rules in order with their sources. Raises PolicyError for a language that has no rules of its own."""
    if language is not None and language not in policy.languages:
        known = ", ".join(policy.languages) or "none"
        raise policies.PolicyError(f"policy {policy.name} has no rules of its own for {language}: it has for {known}")
    rules = policy.languages[language] if language is not None else policy.rules
    if as_json:
        emit({**_heading(policy), "language": language, "rules": [_rule(rule) for rule in rules]})
        return
    console = Console()
    console.print(f"[bold]{policy.id}[/] {policy.description}", highlight=False)
    console.print(f"extractor {policy.extractor}, line filter {policy.line_filter}, digest {policy.digest}")
    if policy.parents:
        console.print(f"extends {', '.join(policy.parents)}")
    table = Table()
    for column in ("", "rule", "a kept page has", "source"):
        table.add_column(column, overflow="fold")
    for place, rule in enumerate(rules, start=1):
        table.add_row(str(place), rule.rule, rule.condition(), rule.source)
    console.print(table)
    if policy.languages and language is None:
        console.print(f"other rules by {policy.language_column} for {', '.join(policy.languages)}: see --language")
    if policy.repetition:
        weights = ", ".join(f"{size}: {weight}" for size, weight in policy.repetition.items())
        console.print(f"copies in the mix by cluster size: {weights}", highlight=False)


def show_difference(before: Policy, after: Policy, found: Effect | None, as_json: bool) -> None:
    """The rules that differ and, where it was computed, what that does to pages."""
    changes, settings = policies.difference(before, after), policies.settings_difference(before, after)
    if as_json:
        emit(
            {
                "before": _heading(before),
                "after": _heading(after),
                "rules": [change.to_json() for change in changes],
                "settings": {name: {"before": was, "after": now} for name, (was, now) in settings.items()},
                "effect": found.to_json() if found is not None else None,
            }
        )
        return
    console = Console()
    table = Table(title=f"{before.id} and {after.id}", title_justify="left")
    for column in ("rule", "languages", "before", "after"):
        table.add_column(column, overflow="fold")
    for change in changes:
        spoken = ", ".join(change.languages) or EVERYWHERE
        table.add_row(change.rule, spoken, change.before or "no such rule", change.after or "no such rule")
    for name, (was, now) in settings.items():
        table.add_row(name, EVERYWHERE, str(was), str(now))
    console.print(table if changes or settings else "they decide alike: no rule differs")
    if found is not None:
        show_effect(console, found)


def show_effect(console: Console, found: Effect) -> None:
    """Counts before and after by reason and language, and the pages that change sides."""
    title = f"{found.pages.documents:,} pages, {found.pages.bytes:,} bytes; duplicates not yet looked for"
    console.print(_sides(title, "reason", found.reasons))
    kept = {tag: sides for tag, sides in found.languages.items() if any(side.documents for side in sides)}
    console.print(_sides("kept, by language", "language", dict(list(kept.items())[:ROWS_SHOWN])))
    table = Table(title="pages that change sides", title_justify="left")
    for column in ("before", "after", "language", "documents", "bytes", "such as"):
        table.add_column(column, overflow="fold", justify="right" if column in ("documents", "bytes") else "left")
    for change in found.changes[:ROWS_SHOWN]:
        counts = (number(change.documents), number(change.bytes))
        table.add_row(change.before, change.after, change.language, *counts, "\n".join(change.samples))
    console.print(table if found.changes else "no page changes sides")
    if len(found.changes) > ROWS_SHOWN:
        console.print(f"and {len(found.changes) - ROWS_SHOWN} more kinds of change: see --json")


def show_saved(saved: "Saved", home: Path, as_json: bool) -> None:
    """Which version it became, from what it differs how, and which versions came meanwhile."""
    changes = policies.difference(policies.load(saved.policy.parents[0], home), saved.policy)
    if as_json:
        rules = [change.to_json() for change in changes]
        emit({**_heading(saved.policy), "rules": rules, "meanwhile": list(saved.meanwhile)})
        return
    console = Console()
    console.print(f"saved as [bold]{saved.policy.id}[/], which extends {saved.policy.parents[0]}", highlight=False)
    for change in changes:
        spoken = f" ({', '.join(change.languages)})" if change.languages else ""
        console.print(f"  {change.rule}{spoken}: {change.before} -> {change.after or 'no such rule'}", highlight=False)
    if saved.meanwhile:
        console.print(f"meanwhile others saved {', '.join(saved.meanwhile)}: see `stemma policy diff`")
    console.print(f"`stemma policy use {saved.policy.id}` makes the home go by it")


def show_use(chosen: str, home: Path, as_json: bool) -> None:
    """What the home goes by now, what counts more, and what to do for it to show."""
    above = os.environ.get("STEMMA_POLICY") or None
    if as_json:
        emit({"home": str(home), "policy": chosen, "STEMMA_POLICY": above})
        return
    console = Console()
    console.print(f"{home} goes by [bold]{chosen}[/]", highlight=False)
    if above:
        console.print(f"[yellow]but STEMMA_POLICY is {above}, which counts more where it is set[/]", highlight=False)
    console.print("a daemon decides again by itself within minutes; `stemma nightly` does it at once")


def show_statistics(summary: pl.DataFrame, statistic: str | None, as_json: bool) -> None:
    """All statistics over all pages, or one of them by language too. Raises UnknownStatistic."""
    names = summary["statistic"].unique(maintain_order=True).to_list()
    if statistic is not None and statistic not in names:
        raise UnknownStatistic(f"no statistic is called {statistic}: known are {', '.join(names)}")
    wanted = pl.col("grouped_by") == "all" if statistic is None else pl.col("statistic") == statistic
    rows = summary.filter(wanted).to_dicts()
    if as_json:
        emit(rows)
        return
    table = Table(title="all pages" if statistic is None else statistic, title_justify="left")
    table.add_column("statistic" if statistic is None else "pages of")
    figures = ("mean", "min", "p05", "p50", "p95", "max")
    for column in ("pages", "missing", *figures):
        table.add_column(column, justify="right")
    table.add_column("histogram", no_wrap=True)
    for row in rows:
        name = row["statistic"] if statistic is None else row["group"]
        values = ["" if row[figure] is None else f"{row[figure]:.3g}" for figure in figures]
        table.add_row(name, number(row["n"]), number(row["missing"]), *values, _bars(row["histogram"]))
    Console().print(table)


def _bars(histogram: list[int]) -> str:
    """A line of block characters, the highest for the fullest bin."""
    most = max(histogram, default=0) or 1
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * n // most)] for n in histogram)


def _sides(title: str, what: str, counts: dict[str, tuple[Count, Count]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(what)
    for column in ("before", "after", "change", "bytes before", "bytes after"):
        table.add_column(column, justify="right")
    for name, (was, now) in counts.items():
        moved = now.documents - was.documents
        style = "bold" if name == KEPT else ""
        cells = (number(was.documents), number(now.documents), f"{moved:+,}" if moved else "")
        table.add_row(name, *cells, number(was.bytes), number(now.bytes), style=style)
    return table


def _heading(policy: Policy) -> dict[str, Any]:
    return {
        "policy": policy.id,
        "digest": policy.digest,
        "description": policy.description,
        "extends": policy.parents,
        "extractor": policy.extractor,
        "line_filter": policy.line_filter,
        "language_column": policy.language_column,
        "languages": list(policy.languages),
        "n_rules": len(policy.rules),
        "repetition": policy.repetition,
        "dedup": policy.dedup.model_dump(mode="json"),
    }


def _rule(rule: policies.Rule) -> dict[str, Any]:
    return {**rule.model_dump(mode="json", by_alias=True, exclude_defaults=True), "condition": rule.condition()}
