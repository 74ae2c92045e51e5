"""What a person may say of a page: good, bad or unsure, free tags, a note; everything else is refused with a reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LABELS = ("good", "bad", "unsure")
LABELLER = re.compile(r"\w[\w .@+-]{0,63}")
TAG = re.compile(r"\w[\w-]{0,39}")
MOST_TAGS = 20
MOST_CHARACTERS = 2000  # of a note


class LabelRefused(ValueError):
    """A part of a label is not what it may be; the message says which and what is wanted."""


@dataclass(frozen=True)
class Page:
    """A page as somebody judged it. `text`: what the classifier reads of it, its first code points.

    `content_hash` is of the whole text, so a page that is extracted otherwise later is told from the judged one.
    """

    doc_id: str
    snapshot: str
    url: str
    content_hash: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class Said:
    """One page and what is said of it. Raises LabelRefused when it is made of anything else."""

    page: Page
    label: str
    tags: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise LabelRefused(f"the label is {self.label!r}: say {', '.join(LABELS[:-1])} or {LABELS[-1]}")
        object.__setattr__(self, "tags", tags_of(self.tags))
        object.__setattr__(self, "note", storable(self.note.strip()))
        if len(self.note) > MOST_CHARACTERS:
            raise LabelRefused(f"the note has {len(self.note)} characters: say it in {MOST_CHARACTERS}")


def storable(text: str) -> str:
    """The text with a question mark for each lone surrogate, which JSON may bring and no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()


def tags_of(given: str | Iterable[str]) -> tuple[str, ...]:
    """Tags as they are kept: lower case, sorted, each once; a text is cut at commas and spaces. Raises LabelRefused."""
    words = re.split(r"[,\s]+", given) if isinstance(given, str) else given
    tags = sorted({word.lower() for word in words if word})
    if wrong := next((tag for tag in tags if not TAG.fullmatch(tag)), None):
        raise LabelRefused(f"the tag {wrong[:50]!r} is none: letters, digits, _ and -, at most 40 of them")
    if len(tags) > MOST_TAGS:
        raise LabelRefused(f"{len(tags)} tags: at most {MOST_TAGS} on a page")
    return tuple(tags)


def labeller_of(given: str) -> str:
    """The name that somebody labels under. Raises LabelRefused."""
    name = given.strip()
    if not LABELLER.fullmatch(name):
        raise LabelRefused("who labels? a name of letters, digits, spaces and . @ + -, at most 64 of them")
    return name


def source_of(given: Mapping[str, str] | None) -> dict[str, str]:
    """The filter that pages came from, as its parameters; empty ones are left out. Raises LabelRefused."""
    source = {storable(name): storable(value) for name, value in sorted((given or {}).items()) if value}
    if sum(len(name) + len(value) for name, value in source.items()) > MOST_CHARACTERS:
        raise LabelRefused(f"the filter is too long to be remembered: at most {MOST_CHARACTERS} characters")
    return source
