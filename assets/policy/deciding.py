"""Decisions: a policy as one query of polars expressions over annotations; no text is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from assets.policy.model import Policy
from assets.policy.rules import CURATED, PolicyError, Rule

NOT_MADE = {
    "contaminated_by": ": pages were not compared with evaluation sets",
    CURATED: ": pages were not scored by the curators' classifier (the asset page_quality)",
}
IDENTITY = ("doc_id", "snapshot", "shard")


def decide(frame: pl.LazyFrame, policy: Policy) -> pl.LazyFrame:
    """Decisions for annotated pages: identity columns, then policy, verdict, reason, score, threshold; rows in order.

    Raises PolicyError where the frame lacks a column that a rule looks at.
    """
    present = set(frame.collect_schema().names())
    for rule in [rule for rules in (policy.rules, *policy.languages.values()) for rule in rules]:
        if rule.statistic not in present:
            why = NOT_MADE.get(rule.statistic, "")
            raise PolicyError(f"policy {policy.name}: rule {rule.rule}: the annotations have no {rule.statistic}{why}")
    if policy.languages and policy.language_column not in present:
        raise PolicyError(f"policy {policy.name}: the annotations have no {policy.language_column}")
    failures = [failure for name in policy.reasons for failure in _failures(policy, name)]
    first = pl.coalesce([pl.when(f.failed).then(pl.lit(i, pl.Int32)) for i, f in enumerate(failures)])
    picked = pl.col("__first")
    order = list(range(len(failures)))
    reason = picked.replace_strict(order, [f.rule for f in failures], default=None, return_dtype=pl.String)
    nothing = pl.lit(None, pl.Float64)
    measured = [(picked == i, f) for i, f in enumerate(failures) if f.value is not None]
    scores = [pl.when(hit).then(f.value) for hit, f in measured]
    thresholds = [pl.when(hit).then(f.bound) for hit, f in measured]
    return frame.with_columns(first.alias("__first")).select(
        *[column for column in IDENTITY if column in present],
        pl.lit(policy.id).alias("policy"),
        pl.when(picked.is_null()).then(pl.lit("kept")).otherwise(pl.lit("dropped")).alias("verdict"),
        reason.alias("reason"),
        pl.coalesce([*scores, nothing]).alias("score"),
        pl.coalesce([*thresholds, nothing]).alias("threshold"),
    )


def looked_at(policy: Policy) -> list[str]:
    """Columns that the policy's decisions depend on."""
    named = [rule.statistic for rules in (policy.rules, *policy.languages.values()) for rule in rules]
    return list(dict.fromkeys([*named, *([policy.language_column] if policy.languages else [])]))


@dataclass(frozen=True)
class _Failure:
    """One way to fail a rule: whether a page does (never null), and for a bound its value and the value compared."""

    rule: str
    failed: pl.Expr
    bound: pl.Expr | None = None
    value: pl.Expr | None = None


@dataclass(frozen=True)
class _Group:
    """The languages (None: all that have no rules of their own) for which a rule differs in its bounds at most."""

    rules: dict[str | None, Rule]

    @property
    def rule(self) -> Rule:
        return next(iter(self.rules.values()))


def _failures(policy: Policy, name: str) -> list[_Failure]:
    """Every way to fail the rule of that name, in whatever shape the languages give it."""
    listed: dict[str | None, Sequence[Rule]] = {None: policy.rules, **policy.languages}
    variants = {language: rule for language, rules in listed.items() for rule in rules if rule.rule == name}
    shapes: dict[str, _Group] = {}
    for language, rule in variants.items():
        sides = [side for side, _ in rule.bounds()]
        shape = str([rule.model_copy(update={"min": None, "max": None}).meaning(), sides])
        shapes.setdefault(shape, _Group({})).rules[language] = rule
    everywhere = len(shapes) == 1 and len(variants) == len(listed)
    own = pl.col(policy.language_column)
    failures = []
    for group in shapes.values():
        here = None if everywhere else _where(own, group, list(policy.languages))
        for failure in _ways(group, own):
            failed = failure.failed if here is None else here & failure.failed
            failures.append(_Failure(name, failed, failure.bound, failure.value))
    return failures


def _where(own: pl.Expr, group: _Group, languages: list[str]) -> pl.Expr:
    """Whether the group's rule holds for a page of that language; never null."""
    if None in group.rules:
        return ~own.is_in([one for one in languages if one not in group.rules]).fill_null(False)
    return own.is_in([one for one in group.rules if one is not None]).fill_null(False)


def _bound(group: _Group, side: Literal["min", "max"], own: pl.Expr) -> pl.Expr:
    """The bound of that side, by the page's language where it differs."""
    values: dict[str | None, Any] = {language: getattr(rule, side) for language, rule in group.rules.items()}
    if len(set(values.values())) == 1:
        return pl.lit(next(iter(values.values())), pl.Float64)
    default = values.pop(None, None)
    return own.replace_strict(list(values), list(values.values()), default=default, return_dtype=pl.Float64)


def _ways(group: _Group, own: pl.Expr) -> list[_Failure]:
    rule = group.rule
    column, unmeasured = pl.col(rule.statistic), rule.missing == "pass"
    if rule.absent:
        return [_Failure(rule.rule, column.is_not_null())]
    if rule.one_of is not None:
        return [_Failure(rule.rule, ~column.is_in(rule.one_of).fill_null(unmeasured))]
    if rule.not_in is not None:
        return [_Failure(rule.rule, column.is_in(rule.not_in).fill_null(False))]
    if isinstance(rule.equals, str):
        return [_Failure(rule.rule, ~(column == rule.equals).fill_null(unmeasured))]
    value = column.cast(pl.Float64).fill_nan(None)
    if rule.equals is not None:
        bound = pl.lit(float(rule.equals))
        return [_Failure(rule.rule, ~(value == bound).fill_null(unmeasured), bound, value)]
    compare = {
        ("min", False): pl.Expr.ge,
        ("min", True): pl.Expr.gt,
        ("max", False): pl.Expr.le,
        ("max", True): pl.Expr.lt,
    }
    bounds = [(side, _bound(group, side, own)) for side, _ in rule.bounds()]
    return [
        _Failure(rule.rule, ~compare[side, rule.strict](value, bound).fill_null(unmeasured), bound, value)
        for side, bound in bounds
    ]
