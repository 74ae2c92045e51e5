"""The words in which two texts differ: a pure function, bounded in time and memory whatever the texts are.

The longest common subsequence of words, by rows of bits (Allison and Dix 1986; the recurrence as Hyyrö 2004 gives it):
after row i, bit j-1 is 0 exactly where the subsequence of a[:i] and b[:j] is longer than that of a[:i] and b[:j-1].
Words of both ends that agree are set aside first, so that two long texts that differ in one place are compared whole.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

MOST_WORDS = 3_000  # compared of each text, without the ends that agree: 1 MB of rows
MOST_CHARACTERS = 100_000  # looked at of each text

Side = Literal["both", "a", "b"]
Word = tuple[Side, int, int]  # whose it is, and how many words of a and of b come before it
_A: list[Side] = ["a"]
_B: list[Side] = ["b"]
_WORD = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True)
class Run:
    """Neighbouring words of one side, or of both: code points start to end in each text (of "a" none in b, and so
    on)."""

    side: Side
    a_start: int
    a_end: int
    b_start: int
    b_end: int


@dataclass(frozen=True)
class Difference:
    """Runs in the order of the texts. `a_compared`, `b_compared`: code points that they cover; what follows was not
    compared."""

    runs: tuple[Run, ...]
    a_compared: int
    b_compared: int
    equal_words: int
    words: int  # of both texts together, as far as they were compared

    @property
    def similarity(self) -> float:
        """Share of words that both have, 0..1; 1 for two empty texts."""
        return 2 * self.equal_words / self.words if self.words else 1.0


def difference(a: str, b: str, most_words: int = MOST_WORDS, most_characters: int = MOST_CHARACTERS) -> Difference:
    """How two texts differ, by words; the white space behind a word makes no difference."""
    a_spans, b_spans = (_spans(text, most_characters) for text in (a, b))
    a_words, b_words = ([text[s:e].rstrip() for s, e in spans] for text, spans in ((a, a_spans), (b, b_spans)))
    words: list[Word] = []
    i, j = 0, 0
    for side in _sides(a_words, b_words, most_words):
        words.append((side, i, j))
        i, j = i + (side != "b"), j + (side != "a")
    runs = tuple(_runs(words, a_spans, b_spans))
    a_end, b_end = (runs[-1].a_end, runs[-1].b_end) if runs else (0, 0)
    return Difference(runs, a_end, b_end, sum(side == "both" for side, *_ in words), i + j)


def _spans(text: str, most_characters: int) -> list[tuple[int, int]]:
    return [found.span() for found in _WORD.finditer(text, 0, most_characters)]


def _sides(a: Sequence[str], b: Sequence[str], most_words: int) -> Iterator[Side]:
    """For each word in turn whose it is; the ends that agree cost nothing, of what is between `most_words` a side."""
    least, front = min(len(a), len(b)), 0
    while front < least and a[front] == b[front]:
        front += 1
    back = 0
    while back < least - front and a[len(a) - 1 - back] == b[len(b) - 1 - back]:
        back += 1
    middle_a, middle_b = a[front : len(a) - back], b[front : len(b) - back]
    for _ in range(front):
        yield "both"
    yield from _of_rows(middle_a[:most_words], middle_b[:most_words])
    if max(len(middle_a), len(middle_b)) <= most_words:
        for _ in range(back):
            yield "both"


def _of_rows(a: Sequence[str], b: Sequence[str]) -> list[Side]:
    places: dict[str, int] = {}
    for j, word in enumerate(b):
        places[word] = places.get(word, 0) | 1 << j
    full = (1 << len(b)) - 1
    row, rows = full, [full]
    for word in a:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & full
        rows.append(row)
    backwards: list[Side] = []
    i, j = len(a), len(b)
    while i and j:
        if rows[i] >> (j - 1) & 1:  # b's word makes nothing longer
            backwards.append("b")
            j -= 1
        elif not rows[i - 1] >> (j - 1) & 1:  # it was as long without a's word
            backwards.append("a")
            i -= 1
        else:
            backwards.append("both")
            i, j = i - 1, j - 1
    backwards += _A * i + _B * j
    return backwards[::-1]


def _runs(
    words: Sequence[Word], a_spans: Sequence[tuple[int, int]], b_spans: Sequence[tuple[int, int]]
) -> Iterator[Run]:
    """Neighbours of one side put together; between words of both, all of a come before those of b."""
    ordered: list[Word] = []
    for _, group in groupby(words, key=lambda word: word[0] == "both"):
        ordered += sorted(group, key=lambda word: word[0])  # stable: each text keeps its order
    a_at = b_at = 0
    for _, group in groupby(ordered, key=lambda word: word[0]):
        *_, (side, last_a, last_b) = group
        a_end = a_at if side == "b" else a_spans[last_a][1]
        b_end = b_at if side == "a" else b_spans[last_b][1]
        yield Run(side, a_at, a_end, b_at, b_end)
        a_at, b_at = a_end, b_end
