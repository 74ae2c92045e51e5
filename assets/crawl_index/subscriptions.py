"""The subscriptions of a home: read from YAML, and which snapshots they make due now, with what their slice would move.

    due = discover(load(path), crawl_root)

looks up what is published and what lies in the crawl root. The index is read only where a Due is asked what it moves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from assets.crawl_index.subscription import Subscription

if TYPE_CHECKING:  # what looks things up is loaded by who looks up: `stemma status` only reads the file
    from assets.crawl_index.fetches import Fetches
    from assets.crawl_index.slices import Slice

FILE = "subscriptions.yaml"
VARIABLE = "STEMMA_SUBSCRIPTIONS"
MOST_BYTES = 1 << 20


class SubscriptionsUnusable(ValueError):
    """The file of subscriptions cannot be read, or a field of it is wrong; the message names line and field."""


@dataclass(frozen=True)
class Due:
    """A snapshot whose next slice is due. why: in words, for people; storage_options: of s3:// places."""

    snapshot: str
    subscription: Subscription
    why: str
    crawl_root: str
    storage_options: dict[str, str] | None = field(default=None, repr=False)

    def slice(self, refusal: Any = None) -> Slice:
        """The next slice; reads the index, or the list of paths. Raises BudgetPassed, and what planning raises."""
        from assets.crawl_index.slices import next_slice

        return next_slice(self.subscription, self.snapshot, self.crawl_root, refusal, self.storage_options)

    def totals(self, refusal: Any = None) -> dict[str, Any]:
        """What the next slice would move: records or files, requests, bytes, dollars, left out by reason."""
        return {"snapshot": self.snapshot, "subscription": self.subscription.name, **self.slice(refusal).totals()}


def find(home: Path) -> Path | None:
    """The file of subscriptions that holds for a home: STEMMA_SUBSCRIPTIONS, else the home's; None where there is none.

    A file that is named and missing is an error when it is read.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named)
    return home / FILE if (home / FILE).is_file() else None


def load(path: Path | None) -> list[Subscription]:
    """The subscriptions of a file; none where there is no file. Raises SubscriptionsUnusable."""
    if path is None:
        return []
    text = _text(path)
    try:
        tree, content = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise SubscriptionsUnusable(f"{where}: no YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(content, dict) or set(content) != {"subscriptions"} or not isinstance(tree, yaml.MappingNode):
        raise SubscriptionsUnusable(f"{path}, line 1: expected the one key subscriptions, with a list")
    entries = content["subscriptions"]
    if not isinstance(entries, list):
        raise SubscriptionsUnusable(f"{path}, line {_line(tree, ('subscriptions',))}: subscriptions is no list")
    found: list[Subscription] = []
    for number, entry in enumerate(entries):
        at = ("subscriptions", number)
        if isinstance(entry, dict) and "base" in entry:
            raise SubscriptionsUnusable(f"{path}, line {_line(tree, (*at, 'base'))}: base: unknown key")
        try:
            base = {"base": path.parent} if isinstance(entry, dict) else {}
            found.append(Subscription.model_validate(entry | base if base else entry))
        except ValidationError as error:
            raise SubscriptionsUnusable(_said(path, tree, at, error)) from error
        if found[-1].name in [one.name for one in found[:-1]]:
            raise SubscriptionsUnusable(f"{path}, line {_line(tree, (*at, 'name'))}: two are called {found[-1].name}")
    return found


def discover(
    subscriptions: Sequence[Subscription],
    crawl_root: str,
    *,
    snapshot: str | None = None,
    storage_options: dict[str, str] | None = None,
) -> list[Due]:
    """What is due now, in the order of the subscriptions; the same snapshot once. snapshot: only that one.

    Raises IndexMissing, IndexUnreadable, FetchIncomplete where a source does not answer.
    """
    from assets.crawl_index.fetches import Fetches

    fetches = Fetches.read(crawl_root, storage_options)
    found: dict[str, Due] = {}
    for one in subscriptions:
        if snapshot is not None and not one.concerns(snapshot):
            continue
        ready: Iterator[tuple[str, str]] = _ready(one, fetches, storage_options)
        for _, (name, why) in zip(range(one.snapshots_per_night), ready):
            if snapshot in (None, name):
                found.setdefault(name, Due(name, one, why, crawl_root, storage_options))
    return list(found.values())


def _ready(one: Subscription, fetches: Fetches, options: dict[str, str] | None) -> Iterator[tuple[str, str]]:
    """(snapshot, why) of what a subscription has left to do, first things first."""
    from assets.crawl_index.published import main_snapshots, news_days
    from assets.crawl_index.whole import listed_files

    if one.follow == "news":
        for name, files in news_days(one, options):
            if left := len({Path(file).name for file in files} - fetches.settled_files(name)):
                yield name, f"{left} of {len(files)} published files are not here"
        return
    if isinstance(one.follow, list):
        names = list(one.follow)
    else:
        names = main_snapshots(one.index_root, one.published and one.place(one.published), options)[-1:]
    for name in names:
        if one.by_files:
            files = listed_files(one.source_root, name, one.kind, storage_options=options)
            if left := len({Path(file).name for file in files} - fetches.settled_files(name)):
                yield name, f"{left} of {len(files)} published files are not here"
        elif not fetches.is_exhausted(one, name):
            slices = fetches.of(one, name)
            here = f"{sum(done.records for done in slices)} records in {len(slices)} slices are here"
            yield name, f"{here}, and the selection goes on" if slices else "published, and nothing of it is here"


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SubscriptionsUnusable(f"{path} has over {MOST_BYTES} bytes")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SubscriptionsUnusable(f"the subscriptions {path} cannot be read: {error}") from error


def _said(path: Path, tree: yaml.Node, at: tuple, error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])  # often why another is missing
    inside = [part for part in first["loc"] if isinstance(part, int) or not part.startswith(("literal[", "list["))]
    what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    name = ".".join(str(part) for part in inside) or f"subscription {at[1] + 1}"
    return f"{path}, line {_line(tree, (*at, *inside))}: {name}: {what}"


def _line(node: yaml.Node, keys: Sequence[str | int]) -> int:
    """Line, from 1, of the innermost of `keys` that the document has."""
    line = node.start_mark.line + 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == key), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        else:
            break
    return line
