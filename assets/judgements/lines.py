"""Labels as JSON lines: what `stemma labels export` writes and `stemma labels import` reads.

A line that comes in has `doc_id` and `label`, and where wanted `labeller`, `tags` (a list), `note` and `content_hash`;
with the last, a page whose text is another one now is refused. All lines count, or none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.judgements.pages import find
from assets.judgements.said import LabelRefused, Page, Said, labeller_of
from assets.judgements.store import Judgements
from assets.lake import Lake

READ = {"doc_id": str, "label": str, "labeller": str, "tags": list, "note": str, "content_hash": str}
WRITTEN_ALONGSIDE = ("snapshot", "url", "source", "made_at")  # by an export; an import says these itself
MOST_BYTES = 65_536  # of a line
MOST_LINES = 1_000_000


class UnusableLabels(ValueError):
    """A file of labels cannot be used; the message names the file, the line and what is wrong with it."""


@dataclass(frozen=True)
class Line:
    """One line, read but not yet looked up."""

    number: int
    doc_id: str
    label: str
    labeller: str
    tags: tuple[str, ...]
    note: str
    content_hash: str | None


def bring_in(store: Judgements, lake: Lake, path: Path, labeller: str | None = None) -> list[str]:
    """Adds the labels of a file, those of each labeller as one batch; returns the batches' ids.

    labeller: of the lines that name none. Raises UnusableLabels; nothing was added then.
    """
    lines = list(read(path, labeller))
    if not lines:
        raise UnusableLabels(f"{path} has no line: a JSON object with doc_id and label is wanted on each")
    pages = find(lake, {line.doc_id for line in lines})
    said: dict[str, list[Said]] = {}
    for line in lines:
        page = _page(path, line, pages)
        said.setdefault(line.labeller, []).append(_refusing(path, line, page))
    return store.add_all(sorted(said.items()), {"file": path.name[:200]})


def read(path: Path, labeller: str | None = None) -> Iterator[Line]:
    """The lines of a file. Raises UnusableLabels."""
    if not path.is_file():
        raise UnusableLabels(f"{path}: no such file")
    with path.open("rb") as file:
        for number, content in enumerate(iter(lambda: file.readline(MOST_BYTES + 1), b""), 1):
            if len(content) > MOST_BYTES:
                raise _wrong(path, number, f"longer than {MOST_BYTES} bytes")
            if number > MOST_LINES:
                raise _wrong(path, number, f"more than {MOST_LINES} lines: cut the file")
            if content.strip():
                yield _line(path, number, content, labeller)


def _line(path: Path, number: int, content: bytes, labeller: str | None) -> Line:
    try:
        row = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise _wrong(path, number, f"no JSON in UTF-8 ({str(error)[:80]})") from error
    if not isinstance(row, dict):
        raise _wrong(path, number, "a JSON object with doc_id and label is wanted")
    for name in ("doc_id", "label"):
        if name not in row:
            raise _wrong(path, number, f"{name} is missing")
    for name, value in row.items():
        if name not in READ and name not in WRITTEN_ALONGSIDE:
            raise _wrong(path, number, f"{name[:40]!r} is no field of a label: {', '.join(READ)} are")
        if name in READ and not isinstance(value, READ[name]):
            raise _wrong(path, number, f"{name} must be a {'list' if READ[name] is list else 'text'}")
    tags = row.get("tags", [])
    if not all(isinstance(tag, str) for tag in tags):
        raise _wrong(path, number, "tags must be a list of texts")
    by = row.get("labeller") or labeller
    if not by:
        raise _wrong(path, number, "no labeller: name one in the line, or with --by")
    try:
        by = labeller_of(by)
    except LabelRefused as error:
        raise _wrong(path, number, str(error)) from error
    return Line(number, row["doc_id"], row["label"], by, tuple(tags), row.get("note", ""), row.get("content_hash"))


def _page(path: Path, line: Line, pages: dict[str, Page]) -> Page:
    page = pages.get(line.doc_id)
    if page is None:
        raise _wrong(path, line.number, f"there is no page {line.doc_id[:60]!r} among the documents")
    if line.content_hash is not None and line.content_hash != page.content_hash:
        raise _wrong(path, line.number, f"{line.doc_id} has another text now than the one that was judged")
    return page


def _refusing(path: Path, line: Line, page: Page) -> Said:
    try:
        return Said(page, line.label, line.tags, line.note)
    except LabelRefused as error:
        raise _wrong(path, line.number, str(error)) from error


def _wrong(path: Path, number: int, what: str) -> UnusableLabels:
    return UnusableLabels(f"{path}, line {number}: {what}")


def write(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Lines of an export, each with its newline."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n"
