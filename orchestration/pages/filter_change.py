"""What a curator would change of a policy, as the address holds it: thresholds, also of languages, rules left out.

`min=0.8`, `max=…` are those of the page's rule for pages of every language, `min.deu_Latn=0.7` for one, `off=1` leaves
the rule out; `set=RULE.SIDE=VALUE` and `drop=RULE` are changes to other rules that were made before.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from assets import policy as policies
from assets.policy import Policy
from assets.policy.rules import Rule
from assets.safe_text import shown

SIDES = ("min", "max")
OWN = re.compile(r"(min|max)(?:\.([A-Za-z]{2,3}(?:_[A-Za-z]{4})?))?")
SETTING = re.compile(r"(?:[A-Za-z]{2,3}(?:_[A-Za-z]{4})?/)?([a-z0-9_]{1,80})\.(?:min|max)=(\S{1,40})")
NAME = re.compile(r"[a-z0-9_]{1,80}")
MOST = 200  # changes in one address


class BadThreshold(ValueError):
    """What was given as a threshold is none."""


@dataclass(frozen=True)
class Change:
    """`settings` and `removed` as policy.what_if takes them; `typed`: the fields of the page's rule as they were given,
    by their names; `others`: the settings of other rules; `dropped`: other rules left out."""

    settings: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    typed: tuple[tuple[str, str], ...] = ()
    others: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def is_none(self) -> bool:
        return not (self.settings or self.removed)

    def of(self, policy: Policy) -> Policy:
        """The policy changed. Raises PolicyError."""
        return policies.what_if(policy, self.settings, self.removed) if not self.is_none else policy

    def value(self, name: str) -> str:
        """What was typed into a field; "" where it was left open."""
        return dict(self.typed).get(name, "")


def read(rule: str, parameters: Iterable[tuple[str, str]], policy: Policy | None = None) -> Change:
    """The change in an address. Raises BadThreshold.

    A field left open changes nothing, nor does one that says what `policy` has for pages of all languages: a form sends
    it whatever else was changed, and the thresholds of languages must not follow it.
    """
    there = rule_for(policy, rule) if policy is not None else None
    as_it_is: dict[str, float] = dict(there.bounds()) if there is not None else {}
    settings, removed, typed, others, dropped = [], [], [], [], []
    for name, given in parameters:
        given = given.strip()
        if not given:
            continue
        if own := OWN.fullmatch(name):
            if not own[2] and number(given) == as_it_is.get(own[1]):
                continue
            typed.append((name, given))
            place = f"{own[2]}/{rule}" if own[2] else rule
            settings.append(f"{place}.{own[1]}={number(given)!r}")
        elif name == "off":
            typed.append((name, given))
            removed.append(rule)
        elif name == "set":
            setting = SETTING.fullmatch(given)
            if setting is None:
                raise BadThreshold(f"{shown(given, 80)} is no change to a rule: write RULE.min=0.8 or RULE.max=0.8")
            if setting[1] != rule:
                others.append(given.replace(setting[2], repr(number(setting[2]))))
        elif name == "drop" and given != rule:
            if NAME.fullmatch(given) is None:
                raise BadThreshold(f"{shown(given, 80)} is no rule's name")
            dropped.append(given)
    if len(settings) + len(others) + len(dropped) > MOST:
        raise BadThreshold(f"more than {MOST} changes at once: save some of them first")
    if removed:  # what is left out has no thresholds
        settings = []
    return Change((*others, *settings), (*dropped, *removed), tuple(typed), tuple(others), tuple(dropped))


def number(given: str) -> float:
    """The threshold as a number. Raises BadThreshold for what is none."""
    try:
        value = float(given)
    except ValueError:
        raise BadThreshold(f"{shown(given, 60)} is no number: a threshold is one, as 0.8") from None
    if not math.isfinite(value):
        raise BadThreshold(f"{shown(given, 60)} is no threshold: give a finite number")
    return value


def rule_for(policy: Policy, rule: str, language: str | None = None) -> Rule | None:
    """The rule of that name for pages of a language (None: of all others), or None."""
    rules = policy.rules if language is None else policy.languages.get(language, policy.rules)
    return next((one for one in rules if one.rule == rule), None)


def any_rule(policy: Policy, rule: str) -> Rule | None:
    """The rule for all, or that of some language where it is for languages alone."""
    listed: Sequence[Sequence[Rule]] = [policy.rules, *policy.languages.values()]
    return next((one for rules in listed for one in rules if one.rule == rule), None)


def alone(policy: Policy, rule: str) -> Policy | None:
    """A policy of that one rule, for whom it holds; None where it holds for nobody."""
    rules = [one for one in policy.rules if one.rule == rule]
    languages = {name: [one for one in own if one.rule == rule] for name, own in policy.languages.items()}
    if not rules and not any(languages.values()):
        return None
    return policy.model_copy(update={"rules": rules, "languages": languages})
