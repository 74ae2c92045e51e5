"""Policy files: YAML read, validated and resolved along `extends` into one policy in effect.

A file lists rules. An entry that names no inherited rule is a new one and stands at the end, or where `before: RULE`
or `after: RULE` puts it. An entry with the name of an inherited rule stands in its place: with a `statistic` it
replaces it whole, without one it changes the fields that it gives. `remove: [RULE]` takes inherited rules away.
`languages:` does the same for pages of one language, keyed by the value of `language_column`; a language's changes hold
whatever a descendant does to the rules of all. A `source:` beside a list of rules is that of every entry without one.
What a policy extends is named by its name, name@version, or, but in a home's own policies, as a file beside it.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assets.policy.model import Dedup, Policy
from assets.policy.own import IDENTITY, is_file_name, located, own_ids, own_path
from assets.policy.own import SHIPPED as POLICIES
from assets.policy.rules import PolicyError, Rule, check_rule, columns
from kernels.text.language_codes import FROM_LID176

SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where PyYAML was built with libyaml
DEEPEST = 256  # policies that one may extend, one another


class Changes(BaseModel):
    """What a file does to the rules it inherits: for all pages, or for those of one language."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str | None = Field(default=None, description="source of every rule below that gives none")
    remove: list[str] = Field(default_factory=list, description="inherited rules that no longer hold")
    rules: list[dict[str, Any]] = Field(default_factory=list)


class PolicyFile(Changes):
    """A policy as it is written."""

    name: str
    version: int
    description: str
    extends: str | None = Field(default=None, description="name of a policy, or a YAML file beside this one")
    extractor: Literal["trafilatura", "stemma"] | None = None
    opt_outs: Literal["ignored", "honoured"] | None = None
    line_filter: Literal["c4", "none"] | None = None
    language_column: Literal["language", "lid176_language"] | None = None
    languages: dict[str, Changes] = Field(default_factory=dict)
    repetition: dict[int, int] | None = None
    dedup: Dedup | None = None


def available(home: Path | None = None) -> list[str]:
    """Names of the policies that come with Stemma, then the ids (name@version) of those that were saved in a home."""
    return sorted(path.stem for path in POLICIES.glob("*.yaml")) + (own_ids(home) if home is not None else [])


def load(name_or_path: str | Path, home: Path | None = None) -> Policy:
    """The policy of that name (or name@version), or of that YAML file, all inheritance resolved. Raises PolicyError.

    home: where to look for names that do not come with Stemma; of a name without a version the newest.
    """
    given = str(name_or_path)
    return _resolve(given, _chain(given, home))


def extended(parent: str, content: dict[str, Any], home: Path | None = None) -> Policy:
    """What a file of this content would be, were it there to extend the policy `parent`. Raises PolicyError."""
    given = f"{content.get('name')}@{content.get('version')}"
    return _resolve(given, [*_chain(parent, home), _validated(content, given)])


def _chain(given: str, home: Path | None) -> list[PolicyFile]:
    """The files of a policy, the remotest ancestor first."""
    chain: list[tuple[Path, PolicyFile]] = []
    wanted, path, wanted_by = given, _path(located(given, home), None), ""
    while True:
        if path in [seen for seen, _ in chain]:
            names = " extends ".join([file.name for _, file in chain] + [path.stem])
            raise PolicyError(f"policy {given}: the inheritance goes round: {names}")
        if len(chain) > DEEPEST:
            raise PolicyError(f"policy {given}: extends more than {DEEPEST} policies, one another")
        file = _read(path, wanted if not chain else f"{path.stem}{wanted_by}", wanted_by, home)
        _refuse_another(wanted, path, file)
        chain.append((path, file))
        if file.extends is None:
            return [file for _, file in reversed(chain)]
        wanted, path, wanted_by = file.extends, _path(file.extends, path), f", which {file.name} extends"


def check(policy: Policy) -> None:
    """Raises PolicyError for a statistic that is not measured or a threshold that the statistic can never reach."""
    known = columns()
    for rules in (policy.rules, *policy.languages.values()):
        for rule in rules:
            try:
                check_rule(rule, known)
            except PolicyError as error:
                raise PolicyError(f"policy {policy.name}: {error}") from error
    for language in policy.languages.keys() - (names := _languages(policy)):
        near = get_close_matches(language, sorted(names), n=1, cutoff=0.3)
        meant = f", did you mean {near[0]}" if near else ""
        raise PolicyError(f"policy {policy.name}: {policy.language_column} is never {language}{meant}")


def _languages(policy: Policy) -> set[str]:
    """What the policy's language column can hold; empty where it has no rules by language."""
    if not policy.languages:
        return set()
    if policy.language_column == "lid176_language":
        return set(FROM_LID176)
    from kernels.text.language import tags  # reads the identifier's weights: only where it is asked about

    return set(tags())


def _path(given: str, by: Path | None) -> Path:
    """The file that is meant; by: the policy that extends it. One that a home saved can only name others by name."""
    own = by.parent if by is not None and IDENTITY.fullmatch(by.stem) else None
    if is_file_name(given) and own is None:
        return (Path(given) if by is None else by.parent / given).absolute()
    shipped = POLICIES / f"{given.partition('@')[0]}.yaml"
    if own is not None and (is_file_name(given) or not shipped.is_file()):
        return own_path(own, given)
    return shipped


def _refuse_another(given: str, path: Path, file: PolicyFile) -> None:
    """Raises PolicyError where the file is another version than was asked for, or not the one its name says."""
    _, _, version = given.partition("@")
    if version.isdigit() and not is_file_name(given) and file.version != int(version):
        raise PolicyError(f"policy {given} is not here: {path.name} is version {file.version}")
    if IDENTITY.fullmatch(path.stem) and path.stem != f"{file.name}@{file.version}":
        raise PolicyError(f"policy {path.stem}: the file says that it is {file.name}@{file.version}")


def _read(path: Path, shown: str, wanted_by: str, home: Path | None) -> PolicyFile:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), SafeLoader)  # noqa: S506 (it is the safe loader)
    except OSError as error:
        name = path.stem if wanted_by else shown
        raise PolicyError(
            f"unknown policy {name}{wanted_by}: known are {', '.join(available(home))}, or a .yaml file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise PolicyError(f"policy {shown}: not readable as YAML: {_one_line(error)}") from error
    if not isinstance(content, dict):
        raise PolicyError(f"policy {shown}: not a mapping with name, version, description and rules")
    return _validated(content, shown)


def _validated(content: dict[str, Any], shown: str) -> PolicyFile:
    try:
        return PolicyFile.model_validate(content)
    except ValidationError as error:
        raise PolicyError(f"policy {shown}: {_first(error)}") from error


def _resolve(given: str, files: list[PolicyFile]) -> Policy:
    """The policy of a chain of files, the remotest ancestor first."""
    base: list[Rule] = []
    for file in files:
        base = changed_rules(base, file, f"policy {given}: ")
    languages: dict[str, list[Rule]] = {}
    removed_later = [frozenset(name for later in files[i + 1 :] for name in later.remove) for i in range(len(files))]
    for file, gone in zip(files, removed_later, strict=True):
        for language, changes in file.languages.items():
            where = f"policy {given}: language {language}: "
            rules = languages.get(language, base)
            languages[language] = changed_rules(rules, changes, where, gone)
    last = files[-1]
    settings = {
        name: next((value for f in reversed(files) if (value := getattr(f, name)) is not None), None)
        for name in ("extractor", "opt_outs", "line_filter", "language_column", "repetition", "dedup")
    }
    content: dict[str, Any] = {
        "name": last.name,
        "version": last.version,
        "description": last.description,
        "rules": base,
        "languages": languages,
        "parents": [f"{file.name}@{file.version}" for file in reversed(files[:-1])],
        **{name: value for name, value in settings.items() if value is not None},
    }
    try:
        policy = Policy.model_validate(content)
    except ValidationError as error:
        raise PolicyError(f"policy {given}: {_first(error)}") from error
    check(policy)
    return policy


def changed_rules(rules: list[Rule], changes: Changes, where: str, gone: frozenset[str] = frozenset()) -> list[Rule]:
    """The rules after changes; entries about rules in `gone` (removed by a descendant) count no more.

    where: begins the message of a PolicyError.
    """
    left = list(rules)
    for name in changes.remove:
        place = _place(left, name)
        if place is None and name not in gone:
            raise PolicyError(f"{where}removes the unknown rule {name}: known are {', '.join(r.rule for r in left)}")
        if place is not None:
            left.pop(place)
    written: set[str] = set()
    for number, entry in enumerate(changes.rules):
        name = str(entry.get("rule", f"number {number + 1}"))
        if name in written:
            raise PolicyError(f"{where}several rules are called {name}")
        written.add(name)
        if name in gone:
            continue
        place = _place(left, name)
        if "statistic" not in entry and place is None:
            raise PolicyError(f"{where}rule {name}: no such rule is inherited, so it needs a statistic")
        inherited = left[place] if place is not None and "statistic" not in entry else None
        rule = _rule(entry, changes.source, inherited, where, name)
        moved = [side for side in ("before", "after") if side in entry]
        if place is not None:
            left.pop(place)
        if moved:
            left.insert(_neighbour(left, entry, moved, where, name), rule)
        else:
            left.insert(len(left) if place is None else place, rule)
    return left


def _rule(entry: dict[str, Any], source: str | None, inherited: Rule | None, where: str, name: str) -> Rule:
    fields = {key: value for key, value in entry.items() if key not in ("before", "after")}
    if source is not None:
        fields.setdefault("source", source)
    if inherited is not None:
        known = inherited.model_dump(by_alias=True, exclude_defaults=True)
        fields = known | fields
    try:
        return Rule.model_validate(fields)
    except ValidationError as error:
        raise PolicyError(f"{where}rule {name}: {_first(error)}") from error


def _neighbour(rules: list[Rule], entry: dict[str, Any], sides: list[str], where: str, name: str) -> int:
    if len(sides) > 1:
        raise PolicyError(f"{where}rule {name}: give before or after, not both")
    place = _place(rules, str(entry[sides[0]]))
    if place is None:
        raise PolicyError(f"{where}rule {name}: {sides[0]} the unknown rule {entry[sides[0]]}")
    return place + (sides[0] == "after")


def _place(rules: list[Rule], name: str) -> int | None:
    return next((i for i, rule in enumerate(rules) if rule.rule == name), None)


def _first(error: ValidationError) -> str:
    """The first complaint, in one line with its place."""
    first = error.errors()[0]
    return "".join(f"{piece}: " for piece in first["loc"]) + _one_line(first["msg"].removeprefix("Value error, "))


def _one_line(message: object) -> str:
    return " ".join(str(message).split())
