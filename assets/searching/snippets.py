"""Snippets: the pieces of a text that have what was looked for, and where in them it stands."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from assets.searching.words import fold, places

SCANNED = 20_000  # code points that are cut into words
SEARCHED = 2_000_000  # code points in which a word is looked for where those have none
BEFORE = 40  # code points of context before the first mark of a piece
WIDTH = 200  # of a piece
PIECES = 2
Words = tuple[str, ...]


@dataclass(frozen=True)
class Piece:
    """Code points `start` to `end` of the text, and the marked (start, end) among them, in the text's code points."""

    start: int
    end: int
    marks: tuple[tuple[int, int], ...] = ()


def snippet(text: str, wanted: Sequence[Words]) -> list[Piece]:
    """At most PIECES pieces, in the order of the text: first the one with the most different terms, then what it lacks.

    wanted: terms, each of words that stand beside each other. The beginning of the text where nothing is found.
    """
    marks = _marks(text, 0, wanted) if wanted else []
    if wanted and not marks and len(text) > SCANNED and (far := _far(text, wanted)):
        marks = _marks(text, far, wanted)
    if not marks:
        return [Piece(0, min(WIDTH, len(text)))]
    chosen: list[Piece] = []
    missing = {term for _, _, term in marks}
    while missing and len(chosen) < PIECES:
        free = [m for m in marks if all(m[1] <= piece.start or m[0] >= piece.end for piece in chosen)]
        covered, first = _best(free, missing)
        if not covered:
            break
        missing -= covered
        start = _at_word(text, max(0, first - BEFORE, *(piece.end for piece in chosen if piece.end <= first)), first)
        end = min([start + WIDTH, len(text), *(piece.start for piece in chosen if piece.start > first)])
        inside = tuple((low, high) for low, high, _ in free if start <= low and high <= end)
        chosen.append(Piece(start, end, inside))
    return sorted(chosen, key=lambda piece: piece.start)


def _at_word(text: str, start: int, end: int) -> int:
    """Where the first word behind `start` begins; `start` where none does, as in scripts without blanks."""
    if start == 0 or text[start - 1].isspace():
        return start
    return next((place + 1 for place in range(start, end) if text[place].isspace()), start)


def _best(marks: list[tuple[int, int, Words]], missing: set[Words]) -> tuple[set[Words], int]:
    """(terms that a piece beginning at a mark covers, where it begins), the earliest of those that cover most."""
    best: tuple[set[Words], int] = (set(), 0)
    for number, (start, _, _) in enumerate(marks):
        covered: set[Words] = set()
        for _, end, term in marks[number:]:
            if end > start - BEFORE + WIDTH:
                break
            covered |= {term} & missing
        if len(covered) > len(best[0]):
            best = covered, start
    return best


def _far(text: str, wanted: Sequence[Words]) -> int:
    """A little before the first word of a term that stands behind the first SCANNED code points; 0 where none does."""
    folded = fold(text[:SEARCHED])
    found = [place for term in wanted if (place := folded.find(term[0], SCANNED)) >= 0]
    scale = min(len(text), SEARCHED) / max(1, len(folded))  # folding may change lengths: a guess, inside what is cut
    return max(0, int(min(found) * scale) - SCANNED // 4) if found else 0


def _marks(text: str, start: int, wanted: Sequence[Words]) -> list[tuple[int, int, Words]]:
    """(start, end, term) of the places of terms among SCANNED code points, in order, none inside another; no more than
    a piece's width behind the place where all were seen."""
    by_first: dict[str, list[Words]] = {}
    for term in sorted(set(wanted), key=len, reverse=True):
        by_first.setdefault(term[0], []).append(term)
    longest, missing, end = max(map(len, wanted)), set(wanted), start + SCANNED
    words, ahead = places(text[start:end]), deque[tuple[int, int, str]]()
    marks: list[tuple[int, int, Words]] = []
    while True:
        ahead.extend(islice(words, longest - len(ahead)))
        if not ahead or ahead[0][0] + start > end:
            return marks
        taken, upcoming = 1, tuple(word for _, _, word in ahead)
        for term in by_first.get(upcoming[0], ()):
            if upcoming[: len(term)] == term:
                marks.append((ahead[0][0] + start, ahead[len(term) - 1][1] + start, term))
                if missing and not (missing := missing - {term}):
                    end = marks[-1][0] + WIDTH
                taken = len(term)
                break
        for _ in range(taken):
            ahead.popleft()
