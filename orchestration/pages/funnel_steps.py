"""The funnel of some pages under a policy: what each rule takes away and leaves, in documents, bytes and tokens.

Pure functions of rows. Every page has one outcome, so the steps and what is kept add up to all pages; `closes` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from assets.policy import Policy, decide
from assets.steps.clusters import REASONS
from orchestration.pages.shelf import KEPT, OUTCOME
from orchestration.pages.weighed import COLUMNS, EXACT, TOKENS

UNDECIDED = "undecided"
MEASURES = ("documents", "tokens", "bytes")


@dataclass(frozen=True)
class Weight:
    """Documents with the bytes of their extracted texts and their tokens; None: not known. `exact`: no token of it is
    an estimate."""

    documents: int = 0
    bytes: int = 0
    tokens: float | None = 0.0
    exact: bool = True

    def __add__(self, other: Weight) -> Weight:
        tokens = None if self.tokens is None or other.tokens is None else self.tokens + other.tokens
        return Weight(self.documents + other.documents, self.bytes + other.bytes, tokens, self.exact and other.exact)

    def less(self, other: Weight, rest_is_exact: bool) -> Weight:
        tokens = None if self.tokens is None or other.tokens is None else self.tokens - other.tokens
        return Weight(self.documents - other.documents, self.bytes - other.bytes, tokens, rest_is_exact)

    def of(self, measure: str) -> float:
        """The weight by a measure's name; 0 where it is not known."""
        return float(getattr(self, measure) or 0)


@dataclass(frozen=True)
class Step:
    """A rule or kind of duplicate: what a kept page satisfies, what it takes away, what is left behind it."""

    name: str
    condition: str
    source: str
    taken: Weight
    left: Weight
    is_rule: bool = True
    now: int | None = None  # documents that the decisions in effect say; None: these are they


@dataclass(frozen=True)
class Funnel:
    """All pages, the steps in order, and what is left."""

    pages: Weight
    steps: tuple[Step, ...]
    kept: Weight
    undecided: Weight

    @property
    def dropped(self) -> Weight:
        return sum((step.taken for step in self.steps), Weight())

    @property
    def closes(self) -> bool:
        """pages == kept + sum(dropped) + those that wait for a decision."""
        return self.pages.documents == self.kept.documents + self.dropped.documents + self.undecided.documents

    def share(self, weight: Weight, measure: str) -> float:
        """Of all pages, 0 to 1."""
        return weight.of(measure) / (self.pages.of(measure) or 1.0)


def outcomes(rows: pl.DataFrame, policy: Policy) -> pl.Series:
    """What the policy's rules say of each row: "kept" or the rule, before duplicates. Raises PolicyError."""
    return decide(rows.lazy(), policy).select(pl.col("reason").fill_null(KEPT)).collect().to_series()


def funnel(rows: pl.DataFrame, policy: Policy | None, said: pl.Series | None = None) -> Funnel:
    """The funnel of rows by their outcome; said: another outcome for each row, compared with the one in effect.

    policy: gives the order and words of rules; what it does not know comes by name behind them.
    """
    now = _weights(rows, rows[OUTCOME])
    then = now if said is None else _weights(rows, said)
    names = order([*then, *(now if said is not None else [])], policy)
    rules = {rule.rule: rule for rule in policy.rules} if policy is not None else {}
    named = set(policy.reasons) if policy is not None else set()
    pages = sum(then.values(), Weight())
    exact = {name: weight.exact for name, weight in then.items()}
    steps, left = [], pages
    for place, name in enumerate(names):
        taken = then.get(name, Weight())
        behind = [*names[place + 1 :], KEPT]
        left = left.less(taken, all(exact.get(one, True) for one in behind))
        rule = rules.get(name)
        told = (rule.condition(), rule.source) if rule is not None else (_condition(name, policy), "")
        before = now.get(name, Weight()).documents if said is not None else None
        steps.append(Step(name, *told, taken, left, name in named, before))
    return Funnel(pages, tuple(steps), then.get(KEPT, Weight()), then.get(UNDECIDED, Weight()))


def order(found: Sequence[str], policy: Policy | None) -> list[str]:
    """Rules as they are tried, whether they took anything or not; then outcomes of no rule; duplicates last."""
    rules = policy.reasons if policy is not None else []
    others = sorted(set(found) - {*rules, *REASONS, KEPT, UNDECIDED})
    return [*rules, *others, *(name for name in REASONS if name in found)]


def by(rows: pl.DataFrame, what: str, said: pl.Series | None = None) -> pl.DataFrame:
    """A row for each language, host, source or snapshot, those with most pages first: value, pages, kept, and the
    tokens of what is kept."""
    kept = pl.col("said") == KEPT
    grouped = (
        _parted(rows, what, said)
        .group_by("value")
        .agg(pl.len().alias("pages"), kept.sum().alias("kept"), pl.col(TOKENS).filter(kept).sum().alias(TOKENS))
    )
    return grouped.sort("pages", "value", descending=[True, False])


def commonest_reasons(
    rows: pl.DataFrame, what: str, values: Sequence[str], said: pl.Series | None = None
) -> dict[str, str]:
    """What most pages of each of these languages, hosts or sources go for."""
    gone = ~pl.col("said").is_in([KEPT, UNDECIDED])
    parted = _parted(rows, what, said).filter(gone & pl.col("value").is_in(list(values)))
    counted = parted.group_by("value", "said").len().sort("value", "len", "said", descending=[False, True, False])
    return dict(counted.group_by("value", maintain_order=True).first().select("value", "said").iter_rows())


def _parted(rows: pl.DataFrame, what: str, said: pl.Series | None) -> pl.DataFrame:
    outcome = (said if said is not None else rows[OUTCOME]).alias("said")
    return rows.select(pl.col(COLUMNS[what]).fill_null("").alias("value"), TOKENS).with_columns(outcome)


def _condition(name: str, policy: Policy | None) -> str:
    if name in REASONS:
        return "no other page that stays has its text" if name == REASONS[0] else "no page that stays is so alike"
    own = [lang for lang, rules in (policy.languages if policy else {}).items() if any(r.rule == name for r in rules)]
    return f"for pages in {', '.join(own[:5])}" + (f" and {len(own) - 5} more" if len(own) > 5 else "") if own else ""


def _weights(rows: pl.DataFrame, outcome: pl.Series) -> dict[str, Weight]:
    """The weight of each outcome. Nothing is said of tokens where a page's are not known."""
    unknown = pl.col(TOKENS).is_null().any()
    grouped = (
        rows.select("n_bytes", TOKENS, EXACT)
        .with_columns(outcome.alias("said"))
        .group_by("said")
        .agg(
            pl.len().alias("documents"),
            pl.col("n_bytes").sum().alias("bytes"),
            pl.when(unknown).then(None).otherwise(pl.col(TOKENS).sum()).alias("tokens"),
            pl.col(EXACT).all().alias("exact"),
        )
    )
    return {said: Weight(*weight) for said, *weight in grouped.iter_rows()}
