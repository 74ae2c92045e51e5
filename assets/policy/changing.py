"""Policies changed for a question, and how two differ: which rules, for which languages, from what to what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from assets.policy.files import Changes, changed_rules, check
from assets.policy.model import Policy
from assets.policy.rules import PolicyError, Rule

EVERYWHERE = "all"  # in place of a list of languages
SETTINGS = ("extractor", "opt_outs", "line_filter", "repetition", "dedup")


@dataclass(frozen=True)
class RuleChange:
    """One rule that differs, for pages of some languages or of all; None: there is no such rule on that side."""

    rule: str
    before: str | None
    after: str | None
    languages: tuple[str, ...] = ()  # none: pages of every language that has no rules of its own on either side

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "languages": list(self.languages) or EVERYWHERE}


def what_if(policy: Policy, settings: Sequence[str] = (), remove: Sequence[str] = ()) -> Policy:
    """The policy with rules changed for pages of every language, as "RULE.FIELD=VALUE", and rules removed.

    "LANGUAGE/RULE.FIELD=VALUE" changes a rule for pages of one language alone. Raises PolicyError.
    """
    rules, languages = list(policy.rules), {name: list(own) for name, own in policy.languages.items()}
    for name in remove:
        if name not in policy.reasons:
            raise PolicyError(f"policy {policy.name}: no rule is called {name}: known are {', '.join(policy.reasons)}")
        rules = [rule for rule in rules if rule.rule != name]
        languages = {key: [rule for rule in own if rule.rule != name] for key, own in languages.items()}
    for setting in settings:
        language, name, field, value = _parsed(setting)
        where = f"--set {setting}: "
        change = Changes(rules=[{"rule": name, field: value, "source": f"--set {setting}"}])
        if language is not None:
            languages[language] = changed_rules(languages.get(language, rules), change, where)
            continue
        if not any(rule.rule == name for own in (rules, *languages.values()) for rule in own):
            raise PolicyError(f"{where}policy {policy.name} has no rule {name}: known are {', '.join(policy.reasons)}")
        if any(rule.rule == name for rule in rules):
            rules = changed_rules(rules, change, where)
        for key, own in languages.items():
            if any(rule.rule == name for rule in own):
                languages[key] = changed_rules(own, change, where)
    update = {"name": f"{policy.name}-what-if", "rules": rules, "languages": languages}
    changed = policy.model_copy(update={**update, "parents": [policy.id, *policy.parents]})
    check(changed)
    return changed


def difference(before: Policy, after: Policy) -> list[RuleChange]:
    """Rules that decide otherwise, in the order in which they are tried. Sources and descriptions do not count."""
    grouped: dict[tuple[str, str | None, str | None], list[str]] = {}
    plain = _differing(before.rules, after.rules)
    languages = sorted(before.languages.keys() | after.languages.keys())
    for language in languages:
        for change in _differing(before.languages.get(language, before.rules), _of(after, language)):
            if change not in plain:
                grouped.setdefault(change, []).append(language)
    changes = [RuleChange(*change) for change in plain]
    changes += [RuleChange(*change, tuple(spoken)) for change, spoken in grouped.items()]
    order = {name: i for i, name in reversed(list(enumerate([*before.reasons, *after.reasons])))}
    return sorted(changes, key=lambda change: (order[change.rule], change.languages))


def settings_difference(before: Policy, after: Policy) -> dict[str, tuple[Any, Any]]:
    """What differs beside the rules: name of the setting, its value before and after."""
    both = [policy.model_dump(mode="json", include=set(SETTINGS)) for policy in (before, after)]
    return {name: (both[0][name], both[1][name]) for name in SETTINGS if both[0][name] != both[1][name]}


def _of(policy: Policy, language: str) -> list[Rule]:
    return policy.languages.get(language, policy.rules)


def _differing(before: Sequence[Rule], after: Sequence[Rule]) -> list[tuple[str, str | None, str | None]]:
    old, new = ({rule.rule: rule for rule in rules} for rules in (before, after))
    names = [*old, *(name for name in new if name not in old)]
    said = [(name, old.get(name), new.get(name)) for name in names]
    return [
        (name, was.condition() if was else None, now.condition() if now else None)
        for name, was, now in said
        if (was.meaning() if was else None) != (now.meaning() if now else None)
    ]


def _parsed(setting: str) -> tuple[str | None, str, str, Any]:
    """Language, rule, field and value of "LANGUAGE/RULE.FIELD=VALUE"; the language is optional."""
    target, equals, written = setting.partition("=")
    place, dot, field = target.strip().rpartition(".")
    if not equals or not dot:
        raise PolicyError(f"--set {setting}: write RULE.FIELD=VALUE, as language_score.min=0.8")
    language, slash, name = place.rpartition("/")
    try:
        value = yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise PolicyError(f"--set {setting}: the value is not readable") from error
    return (language if slash else None), name, field, value
