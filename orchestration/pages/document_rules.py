"""What each rule of a policy says of one page: its value, what the rule wants, and whether the page ever came to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from assets import policy as policies
from assets.policy import Policy, PolicyError, Rule
from kernels.text.offending import Pieces, named, pieces

MOST_LOOKED_AT = 100_000  # characters of a text in which pieces are looked for
C4_REASON = "c4_reason"  # its values are the rules of C4 for pages, most of which come from lines

State = Literal["passed", "failed", "not reached", "not measured"]


@dataclass(frozen=True)
class Verdict:
    """One rule and one page. `would_pass`: what the rule says by itself, also where an earlier one dropped the page;
    None where its statistic was not measured."""

    rule: Rule
    value: Any
    state: State
    would_pass: bool | None


def passes(rule: Rule, value: Any) -> bool:
    """Whether a page with this value of the rule's statistic is kept by the rule: `assets.policy.decide` for one rule
    and one page, without a query."""
    if rule.absent:
        return value is None
    if rule.not_in is not None:
        return value not in rule.not_in
    if value is None or (isinstance(value, float) and value != value):
        return rule.missing == "pass"
    if rule.one_of is not None:
        return value in rule.one_of
    if isinstance(rule.equals, str):
        return value == rule.equals
    number = float(value)
    if rule.equals is not None:
        return number == float(rule.equals)
    low, high = rule.min, rule.max
    above = low is None or (number > low if rule.strict else number >= low)
    below = high is None or (number < high if rule.strict else number <= high)
    return above and below


def verdicts(row: Mapping[str, Any], policy: Policy) -> list[Verdict]:
    """Every rule that holds for a page of its language, in the order in which they are tried."""
    rules = policy.languages.get(row.get(policy.language_column) or "", policy.rules)
    found, dropped = [], False
    for rule in rules:
        if rule.statistic not in row:
            found.append(Verdict(rule, None, "not measured", None))
            continue
        passed = passes(rule, row[rule.statistic])
        state: State = "not reached" if dropped else "passed" if passed else "failed"
        dropped |= not passed
        found.append(Verdict(rule, row[rule.statistic], state, passed))
    return found


def decided(frame: pl.DataFrame, policy: Policy) -> dict[str, Any] | None:
    """The policy's decision on the one page of the frame; None where the frame lacks what a rule looks at."""
    try:
        return policies.decide(frame.lazy(), policy).collect().row(0, named=True)
    except PolicyError:
        return None


def counted_by(rule: Rule) -> list[str]:
    """The statistics whose pieces show what the rule looks at; none where it counts none."""
    if rule.statistic == C4_REASON:
        return [name for reason in rule.not_in or [] if (name := f"c4_lines_{reason}") in named()]
    return [rule.statistic] if rule.statistic in named() else []


def shown_rule(found: Sequence[Verdict], asked: str | None) -> Verdict | None:
    """The rule whose pieces are to be shown: the one asked for, else the failed one; None where that has none."""
    able = [one for one in found if counted_by(one.rule)]
    failed = next((one for one in able if one.state == "failed"), None)
    return next((one for one in able if one.rule.rule == asked), failed)


def pieces_of(rule: Rule, text: str, language: str) -> Pieces:
    """What the rule counts in the text's first MOST_LOOKED_AT characters."""
    found = [pieces(name, text[:MOST_LOOKED_AT], language) for name in counted_by(rule)]
    some = [one for one in found if one is not None]
    return Pieces(
        "; ".join(one.note for one in some), tuple(sorted(s for one in some for s in one.spans)), some[0].wanted
    )
