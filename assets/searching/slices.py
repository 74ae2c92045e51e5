"""A slice: the pages for which some conditions hold, as an address and as a query over all that is known of pages.

The same slice is a search, a set to be labelled together and a download, so what it means lies here alone. Rows have
the columns `doc_id, snapshot, url, host, language, outcome` and any statistic; `outcome` is `kept`, `undecided`, or the
rule or kind of duplicate that the page went for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import polars as pl

from assets import schemas

KEPT, UNDECIDED, DROPPED = "kept", "undecided", "dropped"
VERDICTS = (KEPT, DROPPED, UNDECIDED)
RELEVANCE, NAME = "relevance", "doc_id"
MOST_VALUES = 200  # of one parameter: languages, reasons, ranges
LONGEST = 2000  # characters of one value
DESCRIBED = ("documents", "annotations", "duplicate_clusters", "decisions", "page_quality")
HOSTS_COUNTED = 20
LOOKED_AT = (NAME, "snapshot", "url", "host", "language", "outcome")
COMPARISON = re.compile(r"\s*(\w+)\s*(>=|<=|=|>|<)\s*(\S+)\s*")


class BadSlice(ValueError):
    """A condition that cannot be used; the message names it and what there is."""


@dataclass(frozen=True)
class Range:
    """A statistic between two values, both included; None: no bound. Pages without a value are outside."""

    column: str
    low: float | None = None
    high: float | None = None

    @property
    def typed(self) -> tuple[str, str]:
        """Its bounds as people type them, "" for none."""
        return _number(self.low), _number(self.high)


@dataclass(frozen=True)
class Slice:
    """Conditions that all hold. Empty ones hold for every page; of several languages, snapshots or reasons one holds.

    `text`: a query (query.py). `host`: that host or one below it. `url`: a piece of it. `sort`: relevance, doc_id or a
    statistic; "" the most relevant first where there is a text, else by doc_id.
    """

    text: str = ""
    host: str = ""
    url: str = ""
    languages: tuple[str, ...] = ()
    snapshots: tuple[str, ...] = ()
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    ranges: tuple[Range, ...] = ()
    sort: str = ""
    ascending: bool = False

    @property
    def order(self) -> tuple[str, bool]:
        """(what rows are sorted by, whether the least comes first)."""
        if self.sort and self.sort != NAME:
            return self.sort, self.ascending
        return (RELEVANCE, False) if self.text and not self.sort else (NAME, True)

    def pairs(self) -> list[tuple[str, str]]:
        """The parameters of an address that mean this slice; `slice_of` reads them."""
        found = [("q", self.text), ("host", self.host), ("url", self.url)]
        found += [("language", one) for one in self.languages]
        found += [("snapshot", one) for one in self.snapshots]
        found += [("verdict", self.verdict), *(("reason", one) for one in self.reasons)]
        found += [("sort", self.sort), ("order", "asc" if self.ascending else "")]
        ranges = [
            pair
            for one in self.ranges
            for pair in (("column", one.column), ("from", one.typed[0]), ("to", one.typed[1]))
        ]
        return [pair for pair in found if pair[1]] + ranges

    def without(self, name: str) -> Slice:
        """The same without the condition of that field."""
        return replace(self, **{name: "" if name == "verdict" else ()})


def slice_of(pairs: Iterable[tuple[str, str]]) -> Slice:
    """The slice that an address asks for; parameters of other meaning are passed over. Raises BadSlice."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        if len(value) > LONGEST:
            raise BadSlice(f"{name} has {len(value):,} characters: at most {LONGEST:,} can be meant")
        values.setdefault(name, []).append(value)
        if len(values[name]) > MOST_VALUES:
            raise BadSlice(f"{name} is given more than {MOST_VALUES} times: give fewer")

    def one(name: str) -> str:
        return values.get(name, [""])[-1].strip()

    def several(name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value.strip() for value in values.get(name, []) if value.strip()))

    columns, lows, highs = (values.get(name, []) for name in ("column", "from", "to"))
    if not len(columns) == len(lows) == len(highs):
        raise BadSlice("column, from and to come in threes: give all three of each score, empty where it has no bound")
    ranges = tuple(
        _range(column.strip(), low, high) for column, low, high in zip(columns, lows, highs) if column.strip()
    )
    if (verdict := one("verdict")) not in ("", *VERDICTS):
        raise BadSlice(f"no verdict is called so: there are {', '.join(VERDICTS)}")
    if (order := one("order")) not in ("", "asc", "desc"):
        raise BadSlice("order is asc or desc")
    sort = one("sort")
    if sort not in ("", RELEVANCE, NAME):
        _known(sort)
    return Slice(
        text=one("q"),
        host=one("host"),
        url=one("url"),
        languages=several("language"),
        snapshots=several("snapshot"),
        verdict=verdict,
        reasons=several("reason"),
        ranges=ranges,
        sort=sort,
        ascending=order == "asc",
    )


def compared(said: str) -> Range:
    """A range as people write one: n_words>=50, or <=, =, >, <. Raises BadSlice."""
    found = COMPARISON.fullmatch(said)
    if found is None:
        raise BadSlice(f"{said[:80]} is no comparison: write one as n_words>=50, with >=, <=, =, > or <")
    column, sign, typed = found.groups()
    bound = _bound(column, typed)
    assert bound is not None
    if sign in "><":  # the next value that a float can hold
        bound = math.nextafter(bound, math.inf if sign == ">" else -math.inf)
    low = bound if sign in (">=", ">", "=") else None
    return _range(column, _number(low), _number(bound if sign in ("<=", "<", "=") else None))


@cache
def scores() -> dict[str, str]:
    """Every number that is known of a page, with its meaning and unit."""
    found: dict[str, str] = {}
    for name in DESCRIBED:
        for field in schemas.TABLES[name].schema if name in schemas.TABLES else ():
            if str(field.type) in ("int64", "double") and not field.name.startswith("warc_"):
                notes = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
                unit = f" [{notes['unit']}]" if notes.get("unit") else ""
                found[field.name] = notes.get("comment", "") + unit
    return dict(sorted(found.items()))


def condition(wanted: Slice) -> pl.Expr:
    """Whether a row is in the slice, whatever its text; never null."""
    parts = [pl.col(NAME).is_not_null()]
    if wanted.host:
        host = wanted.host.lower().strip(".")
        parts.append((pl.col("host") == host) | pl.col("host").str.ends_with(f".{host}"))
    if wanted.url:
        parts.append(pl.col("url").str.contains(wanted.url, literal=True))
    if wanted.languages:
        parts.append(pl.col("language").fill_null("und").is_in(list(wanted.languages)))
    if wanted.snapshots:
        parts.append(pl.col("snapshot").is_in(list(wanted.snapshots)))
    if wanted.verdict:
        outcome = pl.col("outcome")
        parts.append(~outcome.is_in([KEPT, UNDECIDED]) if wanted.verdict == DROPPED else outcome == wanted.verdict)
    if wanted.reasons:
        parts.append(pl.col("outcome").is_in(list(wanted.reasons)))
    for one in wanted.ranges:
        value = pl.col(one.column).cast(pl.Float64).fill_nan(None)
        parts.append(value.is_between(-math.inf if one.low is None else one.low, _top(one.high)))
    return pl.all_horizontal([part.fill_null(False) for part in parts])


@dataclass(frozen=True)
class Sliced:
    """What is in a slice. `order`: the places of its rows in the frame, in the slice's order, with `relevance` where
    there was a text; `facets`: for each of verdict, reason, language, host and snapshot the pages by value, most first,
    as if that one condition were not set, so that the others can be chosen; `hosts` in all."""

    frame: pl.DataFrame
    order: pl.DataFrame
    facets: dict[str, list[tuple[str, int]]]
    hosts: int

    @property
    def total(self) -> int:
        return self.order.height

    def rows(self, start: int = 0, length: int | None = None) -> pl.DataFrame:
        """The rows from one place of the order on."""
        some = self.order.slice(start, length)
        rows = self.frame[some["place"]]
        return rows.hstack([some[RELEVANCE]]) if RELEVANCE in some.columns else rows


def cut(frame: pl.DataFrame, wanted: Slice, found: pl.DataFrame | None = None) -> Sliced:
    """The rows of a slice. frame: in the order of doc_id and snapshot, which settles ties. found: `place` in the frame
    and `relevance` of the pages that have its text (None: all).

    Raises BadSlice where the rows have no such statistic.
    """
    column, ascending = wanted.order
    if column == RELEVANCE and found is None:
        column, ascending = NAME, True
    numbers = [name for name in [*(one.column for one in wanted.ranges), column] if name not in (NAME, RELEVANCE)]
    for name in numbers:
        if name not in frame.columns:
            raise BadSlice(f"{name} was not measured yet for these pages: materialize what makes it, or leave it out")
    narrow = frame.select(list(dict.fromkeys([*LOOKED_AT, *numbers]))).with_row_index("place")  # not all 80 columns
    if found is not None:
        narrow = narrow[found["place"]].hstack([found[RELEVANCE]])
    rows = narrow.filter(condition(wanted))

    def counts(own: str | None, value: pl.Expr, leave: tuple[str, ...] = ()) -> list[tuple[str, int]]:
        others = rows if own is None or not getattr(wanted, own) else narrow.filter(condition(wanted.without(own)))
        counted = others.group_by(value.alias("value")).len().filter(~pl.col("value").is_in(leave))
        return counted.sort("len", "value", descending=[True, False]).rows()

    facets = {
        "verdict": counts("verdict", _verdict()),
        "reason": counts("reasons", pl.col("outcome"), leave=(KEPT, UNDECIDED)),
        "language": counts("languages", pl.col("language").fill_null("und")),
        "snapshot": counts("snapshots", pl.col("snapshot")),
        "host": counts(None, pl.col("host").fill_null("")),
    }
    hosts = len(facets["host"])
    facets["host"] = facets["host"][:HOSTS_COUNTED]
    if column == NAME:
        rows = rows.sort("place", descending=not ascending)
    else:
        rows = rows.sort(column, "place", descending=[not ascending, False], nulls_last=True)
    order = rows.select("place", *([RELEVANCE] if found is not None else []))
    return Sliced(frame, order, facets, hosts)


def _verdict() -> pl.Expr:
    outcome = pl.col("outcome")
    return pl.when(outcome.is_in([KEPT, UNDECIDED])).then(outcome).otherwise(pl.lit(DROPPED))


def _range(column: str, low: str, high: str) -> Range:
    _known(column)
    one = Range(column, _bound(column, low), _bound(column, high))
    if one.low is not None and one.high is not None and one.low > one.high:
        raise BadSlice(f"{column}: from {one.low:g} is above to {one.high:g}, so no page is meant: exchange them")
    return one


def _known(column: str) -> None:
    if column not in scores():
        raise BadSlice(f"no score is called {column[:80]}: there are {', '.join(scores())}")


def _bound(column: str, typed: str) -> float | None:
    if not typed.strip():
        return None
    try:
        value = float(typed)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadSlice(f"{column}: {typed[:40]} is no number: write one as 50 or 0.25, or nothing for no bound")
    return value


def _top(high: float | None) -> float:
    return math.inf if high is None else high


def _number(value: float | None) -> str:
    """As short as it can be read again exactly."""
    if value is None:
        return ""
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)


def exported(rows: pl.DataFrame, wanted: Slice) -> pl.DataFrame:
    """What a download of a slice holds: ids, their snapshot, the outcome, and the numbers that it names. No text."""
    numbers: list[Any] = [one.column for one in wanted.ranges]
    numbers += [wanted.sort] if wanted.sort not in ("", NAME) else []
    numbers += [RELEVANCE] if RELEVANCE in rows.columns else []
    columns = ["doc_id", "snapshot", "language", "outcome", "score", "threshold"]
    return rows.select(list(dict.fromkeys([*columns, *(name for name in numbers if name in rows.columns)])))
