"""One rule looked at: how its statistic spreads, what another threshold would do, and pages at the border.

Pure functions of the shelf's rows. A page reaches a rule if none that is tried before drops it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from assets.policy import Policy, decide
from assets.policy.rules import Column, Rule
from orchestration.pages.charts import Mark
from orchestration.pages.filter_change import alone, rule_for
from orchestration.pages.funnel_steps import UNDECIDED, Weight
from orchestration.pages.shelf import KEPT
from orchestration.pages.weighed import EXACT, TOKENS

BINS = 48
TAIL = 0.995  # the axis ends at this quantile; what lies above is in the last bin
VALUES = 30  # of a statistic that is no number


@dataclass(frozen=True)
class Spread:
    """A histogram: `edges`, what passes and fails in each bin, the thresholds, and pages without a value or beyond."""

    edges: list[float]
    kept: list[int]
    dropped: list[int]
    marks: list[Mark]
    unmeasured: int
    beyond: int  # in the last bin, though above its edge


@dataclass(frozen=True)
class Sides:
    """What changes sides between two policies: pages that would go, and those that would come back, and by language."""

    pages: Weight
    kept_before: Weight
    kept_after: Weight
    lost: Weight
    won: Weight
    languages: list[dict[str, Any]]


def reached(said: pl.Series, policy: Policy, rule: str) -> pl.Series:
    """Whether each page gets as far as the rule. said: the policy's outcome of each."""
    before = policy.reasons[: policy.reasons.index(rule)]
    return ~said.is_in([*before, UNDECIDED])


def passes(rows: pl.DataFrame, policy: Policy, rule: str) -> pl.Series:
    """Whether each page passes the rule by itself, under the policy; true where the rule does not hold for it."""
    single = alone(policy, rule)
    if single is None:
        return pl.Series("passes", [True]).new_from_index(0, rows.height)
    return decide(rows.lazy(), single).select(pl.col("reason").is_null().alias("passes")).collect().to_series()


def spread(rows: pl.DataFrame, rule: Rule, passed: pl.Series, policy: Policy, proposed: Policy) -> Spread:
    """The statistic's histogram over the rows, parted by whether they pass."""
    values = rows[rule.statistic].cast(pl.Float64).fill_nan(None)
    measured = values.is_not_null()
    numbers = values.filter(measured).to_numpy()
    marks = thresholds(policy, rule.rule, "threshold") + [
        mark for mark in thresholds(proposed, rule.rule, "proposed") if mark.value not in _bounds(policy, rule.rule)
    ]
    low, high = axis(numbers, [mark.value for mark in marks])
    whole = bool(len(numbers)) and rows.schema[rule.statistic].is_integer() and high - low < BINS
    edges = np.arange(low, high + 2) if whole else np.linspace(low, high, BINS + 1)
    if whole:
        edges = edges - 0.5
    told = passed.filter(measured).to_numpy()
    kept, dropped = (
        np.histogram(np.clip(numbers[told == side], edges[0], edges[-1]), edges)[0].tolist() for side in (True, False)
    )
    return Spread(edges.tolist(), kept, dropped, marks, int((~measured).sum()), int((numbers > edges[-1]).sum()))


def axis(numbers: np.ndarray, marks: list[float]) -> tuple[float, float]:
    """From the least value to the TAIL quantile, with every threshold inside."""
    if not len(numbers):
        low, high = min(marks, default=0.0), max(marks, default=1.0)
    else:
        low, high = float(numbers.min()), float(np.quantile(numbers, TAIL))
        near = [mark for mark in marks if mark <= max(float(numbers.max()), high)]  # a bound that nobody meets is far
        low, high = min([low, *near]), max([high, *near])
    if high <= low:
        high = low + 1.0
    return low, high


def thresholds(policy: Policy, rule: str, kind: str) -> list[Mark]:
    """The bounds of a rule, for all and for languages, each value once."""
    by_value: dict[float, list[str]] = {}
    for language in (None, *policy.languages):
        found = rule_for(policy, rule, language)
        for _, value in found.bounds() if found is not None else []:
            by_value.setdefault(value, []).append(language or "all")
    word = "threshold" if kind == "threshold" else "proposed"
    return [
        Mark(value, f"{word} {value:g}: {', '.join(whom[:4])}{' …' if len(whom) > 4 else ''}", kind)
        for value, whom in sorted(by_value.items())
    ]


def by_value(rows: pl.DataFrame, statistic: str, passed: pl.Series) -> list[dict[str, Any]]:
    """Values of a statistic that is no number, the commonest first: value ("" for none), pages, passed."""
    parted = rows.select(pl.col(statistic).fill_null("").alias("value")).with_columns(passed.alias("passed"))
    grouped = parted.group_by("value").agg(pl.len().alias("pages"), pl.col("passed").sum())
    return grouped.sort("pages", "value", descending=[True, False]).head(VALUES).to_dicts()


def sides(rows: pl.DataFrame, before: pl.Series, after: pl.Series) -> Sides:
    """The pages that change sides. before, after: what two policies say of each row."""
    was, now = (before == KEPT).alias("was"), (after == KEPT).alias("now")
    parted = rows.select(pl.col("language").fill_null("und"), "n_bytes", TOKENS, EXACT).with_columns(was, now)
    changed = parted.filter(pl.col("was") != pl.col("now"))
    spoken = changed.group_by("language").agg(
        pl.col("was").sum().alias("lost"), pl.col("now").sum().alias("won"), pl.len().alias("pages")
    )
    listed = spoken.sort("pages", "language", descending=[True, False]).to_dicts()
    return Sides(
        pages=weight(parted),
        kept_before=weight(parted.filter("was")),
        kept_after=weight(parted.filter("now")),
        lost=weight(changed.filter("was")),
        won=weight(changed.filter("now")),
        languages=listed,
    )


def weight(rows: pl.DataFrame) -> Weight:
    """Documents, bytes and tokens of rows."""
    if not rows.height:
        return Weight()
    unknown = rows[TOKENS].null_count() > 0
    tokens = None if unknown else float(rows[TOKENS].sum())
    return Weight(rows.height, int(rows["n_bytes"].sum()), tokens, bool(rows[EXACT].all()))


def languages(
    rows: pl.DataFrame, reach: pl.Series, policy: Policy, proposed: Policy, rule: str, fails: pl.Series, most: int
) -> list[dict[str, Any]]:
    """A row for each language that a threshold may differ for: pages that reach the rule, the threshold, the proposed
    one, pages that would fail it. Those with most pages first, then those that have a rule of their own."""
    column = policy.language_column
    parted = (
        rows.select(pl.col(column).fill_null("").alias("language")).with_columns(fails.alias("fails")).filter(reach)
    )
    grouped = parted.group_by("language").agg(pl.len().alias("pages"), pl.col("fails").sum())
    listed = grouped.sort("pages", "language", descending=[True, False]).to_dicts()
    own = {*policy.languages, *proposed.languages}
    shown = [row for place, row in enumerate(listed) if row["language"] and (place < most or row["language"] in own)]
    for row in shown:
        now, then = (rule_for(one, rule, row["language"]) for one in (policy, proposed))
        row |= {"now": now, "then": then, "own": row["language"] in own}
    return shown


def border(rows: pl.DataFrame, policy: Policy, rule: Rule, seed: int) -> pl.DataFrame:
    """The rows with `distance` from the nearest bound that the policy's rule of that name has for their language, the
    nearest first; ties by the doc_id from a place that the seed gives, so the same seed shows the same pages."""
    place = seed % 20
    tie = [pl.col("doc_id").str.slice(place), pl.col("doc_id"), pl.col("snapshot")]
    if not rule.bounds():
        return rows.with_columns(pl.lit(0.0).alias("distance")).sort(tie)
    value = pl.col(rule.statistic).cast(pl.Float64).fill_nan(None)
    distance = _nearest(value, [bound for _, bound in rule.bounds()])
    spoken: dict[tuple[float, ...], list[str]] = {}
    for language in policy.languages:
        own = rule_for(policy, rule.rule, language)
        if own is not None and own.statistic == rule.statistic and own.bounds() and own.bounds() != rule.bounds():
            spoken.setdefault(tuple(bound for _, bound in own.bounds()), []).append(language)
    for bounds, whom in spoken.items():
        here = pl.col(policy.language_column).is_in(whom).fill_null(False)
        distance = pl.when(here).then(_nearest(value, bounds)).otherwise(distance)
    return rows.with_columns(distance.fill_null(math.inf).alias("distance")).sort(["distance", *tie])


def _nearest(value: pl.Expr, bounds: Sequence[float]) -> pl.Expr:
    return pl.min_horizontal(*((value - bound).abs() for bound in bounds))


def slider(column: Column, edges: list[float], values: list[float]) -> dict[str, float]:
    """The range control: from where to where, and its step."""
    low, high = min([edges[0], *values]), max([edges[-1], *values])
    low, high = max(low, column.low), min(high, column.high)
    if column.whole:
        return {"min": math.floor(low), "max": math.ceil(high), "step": 1}
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9) / 100))
    return {"min": math.floor(low / step) * step, "max": math.ceil(high / step) * step, "step": step}


def _bounds(policy: Policy, rule: str) -> set[float]:
    return {mark.value for mark in thresholds(policy, rule, "threshold")}
