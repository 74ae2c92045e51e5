"""Crawled text and model output as a page may show them: cut with notice, every character visible, spans marked.

Nothing here makes HTML: a text becomes plain segments, and the templates escape each. Control characters, bidirectional
overrides and characters without a shape are shown by their code point; line breaks and tabs stay.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from assets.safe_text import UNSAFE

TEXT_SHOWN = 20_000  # code points
LINES_SHOWN = 2_000


@dataclass(frozen=True)
class Span:
    """Code points `start` to `end` of a text and why they are marked; `kind` is a CSS class of stemma.css."""

    start: int
    end: int
    note: str
    kind: str = "hit"


@dataclass(frozen=True)
class Segment:
    """A piece of a text, safe to escape and show; `note` says why it is marked, "" where it is not."""

    text: str
    note: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Shown:
    """A text for a page: its pieces in order, and how much of it that is."""

    segments: tuple[Segment, ...]
    points: int  # code points of the whole text
    shown: int  # of them shown
    starts: int = 0  # where the shown part begins

    @property
    def is_cut(self) -> bool:
        return self.shown < self.points

    @property
    def notice(self) -> str:
        """What to say where the text is cut; "" where it is not."""
        if not self.is_cut:
            return ""
        return f"{self.shown:,} of {self.points:,} characters are shown, from character {self.starts:,}"


def shown(text: str, spans: Iterable[Span] = (), longest: int = TEXT_SHOWN, start: int = 0) -> Shown:
    """The text from `start`, at most `longest` code points and LINES_SHOWN lines, with its spans marked.

    Where spans overlap, the piece that both cover carries both notes and the kind of the one that began first.
    """
    part = text[start : start + longest]
    lines = part.split("\n")
    if len(lines) > LINES_SHOWN:
        part = "\n".join(lines[:LINES_SHOWN])
    return Shown(tuple(_segments(part, spans, start)), len(text), len(part), start)


def around(text: str, spans: Sequence[Span], context: int = 120) -> Shown:
    """The text near its first span: `context` code points before it and twice as many after."""
    first = min((span.start for span in spans), default=0)
    return shown(text, spans, 3 * context, max(first - context, 0))


def visible(text: str) -> str:
    """The text with every character that cannot be seen, or moves others, shown by its code point."""
    return "".join(_escape(c) if unicodedata.category(c) in UNSAFE and c not in "\n\t" else c for c in text)


def _segments(part: str, spans: Iterable[Span], start: int) -> Iterable[Segment]:
    inside = [
        Span(max(span.start - start, 0), min(span.end - start, len(part)), span.note, span.kind)
        for span in spans
        if span.end > start and span.start < start + len(part) and span.end > span.start
    ]
    inside.sort(key=lambda span: (span.start, span.end))
    cuts = sorted({0, len(part), *(span.start for span in inside), *(span.end for span in inside)})
    open_spans: list[Span] = []
    waiting = iter(inside)
    upcoming = next(waiting, None)
    for begin, end in pairwise(cuts):
        open_spans = [span for span in open_spans if span.end > begin]
        while upcoming is not None and upcoming.start <= begin:
            open_spans.append(upcoming)
            upcoming = next(waiting, None)
        notes = "; ".join(dict.fromkeys(span.note for span in open_spans))
        yield Segment(visible(part[begin:end]), notes, open_spans[0].kind if open_spans else "")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
