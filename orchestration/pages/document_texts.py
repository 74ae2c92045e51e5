"""Texts of a page as its panels show them: never more than a panel's weight, from any place, with links to the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import escape

from orchestration.pages.hostile import TEXT_SHOWN, Shown, Span, shown

PANEL_BYTES = 60_000  # of HTML that one text becomes at most; a panel shows two
MARK_BYTES = 48  # <mark class="" title=""></mark>


@dataclass(frozen=True)
class Window:
    """A part of a text: what is shown of it, and where the parts before and behind it start (None: there is none)."""

    text: Shown
    before: int | None
    behind: int | None


def window(text: str, spans: Sequence[Span] = (), start: int = 0, longest: int = TEXT_SHOWN) -> Window:
    """The text from `start`, as much of it as fits into PANEL_BYTES of HTML.

    Escaped characters and marks take many times the room of letters: a text that is made of them is shown in smaller
    parts.
    """
    start = max(min(start, len(text) - 1), 0)
    part = shown(text, spans, longest, start)
    while part.shown > 1 and weight(part) > PANEL_BYTES:
        part = shown(text, spans, max(part.shown // 2, 1), start)
    behind = start + part.shown if start + part.shown < len(text) else None
    return Window(part, max(start - longest, 0) if start else None, behind)


def weight(part: Shown) -> int:
    """Bytes of HTML that a text becomes."""
    return sum(
        len(escape(piece.text).encode()) + (MARK_BYTES + len(escape(piece.note).encode()) if piece.note else 0)
        for piece in part.segments
    )
