"""Saves a changed policy as a new version of the home's own: a file that names its parent and what differs from it.

It is written whole under a temporary name and linked to its version only if nobody has that version: two who save at
once both succeed, the second with the next version, and hears which versions came since the one it started from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from assets.policy.changing import difference, settings_difference
from assets.policy.files import extended, load
from assets.policy.model import Policy
from assets.policy.own import FOLDER, NAME, SHIPPED, newest_version, own_ids, own_path
from assets.policy.rules import PolicyError, Rule
from assets.safe_text import shown
from assets.temporary import write_new

LONGEST = {"by": 80, "why": 500}  # characters


@dataclass(frozen=True)
class Saved:
    """A policy that was saved, and the versions of its name that others saved since the one it was started from."""

    policy: Policy
    meanwhile: tuple[str, ...]


def save(home: Path, name: str, parent: str, changed: Policy, *, by: str, why: str, seen: int | None = None) -> Saved:
    """Saves `changed`, which came of the policy `parent`, as the next version of `name`. Raises PolicyError.

    by, why: who saves it and the reason, as people wrote them. seen: the newest version of that name when the work
    began (0: none); None: whatever there is now.
    """
    _refuse_name(name)
    said = {field: _told(field, text) for field, text in (("by", by), ("why", why))}
    before = _savable(load(parent, home), changed, home)
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    seen = newest_version(home, name) if seen is None else seen
    while True:
        version = newest_version(home, name) + 1
        head = {"name": name, "version": version, "description": said["why"], "extends": before.id}
        written = _written({**head, "source": f"{said['by']}: {said['why']}"}, before, changed, home)
        text = yaml.safe_dump(written, sort_keys=False, allow_unicode=False, width=120)
        try:
            write_new(own_path(folder, f"{name}@{version}"), text.encode())
        except FileExistsError:
            continue  # somebody was faster: the next version
        meanwhile = [f"{name}@{number}" for number in range(seen + 1, version)]
        return Saved(load(f"{name}@{version}", home), tuple(one for one in meanwhile if one in own_ids(home)))


def suggested_name(policy: Policy) -> str:
    """What a policy that came of this one would be called: its own name, or `ours` where that one is shipped."""
    return "ours" if (SHIPPED / f"{policy.name}.yaml").is_file() else policy.name


def _refuse_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise PolicyError(f"{shown(name, 60)!r} cannot be a policy's name: up to 40 of a-z, 0-9, _ and -, as ours")
    if (SHIPPED / f"{name}.yaml").is_file():
        raise PolicyError(f"{name} comes with Stemma: save yours under another name, as ours")


def _told(field: str, text: str) -> str:
    told = " ".join(text.split())
    if not told:
        raise PolicyError(f"say {'who saves it' if field == 'by' else 'why'}: every version keeps it as its source")
    if len(told) > LONGEST[field]:
        raise PolicyError(f"{'the name' if field == 'by' else 'the reason'} is longer than {LONGEST[field]} characters")
    return shown(told, LONGEST[field])


def _savable(before: Policy, changed: Policy, home: Path) -> Policy:
    """The parent. What a new version of it can hold are changed and removed rules, and those of languages."""
    if settings := settings_difference(before, changed):
        raise PolicyError(f"{', '.join(settings)}: only rules can be changed here; write a YAML file for the rest")
    if not difference(before, changed):
        raise PolicyError(f"nothing differs from {before.id}: change a threshold first")
    try:
        named = load(before.id, home)
    except PolicyError:
        named = None
    if named is None or named.digest != before.digest:
        raise PolicyError(f"{before.id} is a file of its own: change that file, or start from a policy with a name")
    return before


def _written(head: dict[str, Any], before: Policy, changed: Policy, home: Path) -> dict[str, Any]:
    """The content of the file: resolved, its rules are those of `changed`."""
    for_all = {**head, **_entries(before.rules, changed.rules)}
    so_far = extended(before.id, for_all, home)  # what a language's own changes say holds whatever is said for all
    languages = {
        language: entry
        for language, rules in changed.languages.items()
        if (entry := _entries(so_far.languages.get(language, so_far.rules), rules))
    }
    content = {**for_all, **({"languages": languages} if languages else {})}
    if difference(extended(before.id, content, home), changed):
        raise PolicyError(f"the changes to {before.id} cannot be told rule by rule: write a YAML file")
    return content


def _entries(before: list[Rule], after: list[Rule]) -> dict[str, Any]:
    old, new = ({rule.rule: rule for rule in rules} for rules in (before, after))
    removed = [name for name in old if name not in new]
    rules = [{"rule": name, **_fields(old[name], rule)} for name, rule in new.items() if _fields(old[name], rule)]
    return {**({"remove": removed} if removed else {}), **({"rules": rules} if rules else {})}


def _fields(before: Rule, after: Rule) -> dict[str, Any]:
    """Fields of the rule that differ, but its source."""
    was, now = (rule.model_dump(mode="json", by_alias=True, exclude={"source"}) for rule in (before, after))
    return {name: value for name, value in now.items() if value != was[name]}
