"""What people type into the search box, read: words, "phrases", host:, url:, -without, OR. Nothing else is an operator.

A page has all of the parts, or one of those that OR joins. There are no wildcards, ranges or expressions: a query costs
what its words cost, and what a stranger typed cannot mean more than words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from unicodedata import category
from urllib.parse import unquote

from assets.safe_text import shown
from assets.searching.words import LONGEST_BYTES, places, words

LONGEST = 1000  # characters of a query
MOST_WORDS = 64
QUOTE = '"'
PARTING = ("Cc", "Cn", "Co", "Cs", "Zl", "Zp")  # Unicode categories that part words as a blank does
OR = "OR"

Field = Literal["text", "host", "url"]


class QueryError(ValueError):
    """The query cannot be read; the message says where and what to write instead."""


@dataclass(frozen=True)
class Term:
    """One part: words that stand beside each other in that order in the text or the url; of `host`, its one name."""

    field: Field
    words: tuple[str, ...]


@dataclass(frozen=True)
class Query:
    """A page has one term of every group, and none of `without`. `ignored`: parts without a word, as typed."""

    groups: tuple[tuple[Term, ...], ...]
    without: tuple[Term, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def text_terms(self) -> tuple[tuple[str, ...], ...]:
        """The words to mark in a text that was found."""
        return tuple(term.words for group in self.groups for term in group if term.field == "text")


@dataclass(frozen=True)
class _Piece:
    """One blank-separated piece: `body` without sign, field and quotes; `at`: its first character, from 1."""

    typed: str
    at: int
    negated: bool
    field: Field
    body: str
    quoted: bool

    @property
    def is_or(self) -> bool:
        return self.typed == OR


def parse(typed: str) -> Query:
    """The query. Raises QueryError where it says nothing, is not closed, or is too long."""
    if len(typed) > LONGEST:
        raise QueryError(f"the query has {len(typed):,} characters: make it shorter, at most {LONGEST:,} are read")
    groups: list[list[Term]] = []
    without: list[Term] = []
    ignored: list[str] = []
    pieces = list(_pieces(_plain(typed)))
    joined, beside = False, None  # whether the last piece was OR; the group of the piece before it
    for number, piece in enumerate(pieces):
        if piece.is_or:
            if joined or number == 0 or pieces[number - 1].negated:
                raise QueryError(f'OR at character {piece.at} has nothing before it: write one OR other, or "OR"')
            joined = True
            continue
        if joined and piece.negated:
            raise QueryError(f"{shown(piece.typed, 40)} at character {piece.at} cannot follow OR: leave out OR, or -")
        term = _term(piece)
        if not joined:
            beside = None
        if term is None:
            ignored.append(piece.typed)
        elif piece.negated:
            without.append(term)
        elif beside is not None:
            beside.append(term)
        else:
            groups.append(beside := [term])
        joined = False
    if joined:
        raise QueryError(f'OR at character {pieces[-1].at} has nothing behind it: write one OR other, or "OR"')
    terms = [*(term for group in groups for term in group), *without]
    if not terms:
        what = f"{shown(ignored[0], 40)} has no word in it" if ignored else "the query is empty"
        raise QueryError(f'{what}: write words, "a phrase", host:example.org, url:path or -without')
    if (n := sum(len(term.words) for term in terms)) > MOST_WORDS:
        raise QueryError(f"the query has {n} words: at most {MOST_WORDS} are looked for, leave some out")
    return Query(tuple(map(tuple, groups)), tuple(without), tuple(ignored))


def _plain(typed: str) -> str:
    """Control characters, lone surrogates and the like as blanks; typographic quotes as plain ones."""
    plain = "".join(" " if category(c) in PARTING else c for c in typed)
    return plain.replace("“", QUOTE).replace("”", QUOTE).replace("„", QUOTE)


def _pieces(typed: str) -> Iterator[_Piece]:
    at = 0
    while at < len(typed):
        if typed[at].isspace():
            at += 1
            continue
        start = at
        negated = typed[at] == "-"
        at += negated
        field: Field = "text"
        for name in ("host", "url"):
            if typed[at : at + len(name) + 1].lower() == f"{name}:":
                field, at = name, at + len(name) + 1
                break
        quoted = at < len(typed) and typed[at] == QUOTE
        if quoted:
            end = typed.find(QUOTE, at + 1)
            if end < 0:
                raise QueryError(f"the quote at character {at + 1} is not closed: add another, or leave it out")
            body, at = typed[at + 1 : end], end + 1
        else:
            end = next((i for i in range(at, len(typed)) if typed[i].isspace() or typed[i] == QUOTE), len(typed))
            body, at = typed[at:end], end
        if field != "text" and not body.strip():
            raise QueryError(f"{field}: at character {start + 1} names nothing: write {field}:example.org")
        yield _Piece(typed[start:at], start + 1, negated, field, body, quoted)


def _term(piece: _Piece) -> Term | None:
    """The piece as a term; None where there is no word in it. Raises QueryError for one that no index holds."""
    if piece.field == "host":
        name = host_name(piece.body)
        return Term("host", (name,)) if name else None
    text = unquote(piece.body) if piece.field == "url" else piece.body
    if any(len(word.encode("utf-8", "replace")) >= LONGEST_BYTES for _, _, word in places(text)):
        raise QueryError(f"{shown(piece.typed, 40)} at character {piece.at} is longer than any word that can be found")
    found = words(text)
    return Term(piece.field, tuple(found)) if found else None


def host_name(typed: str) -> str:
    """A host as documents hold it: lower case, without scheme, port, path, and dots around it."""
    name = typed.strip().lower().split("://")[-1].split("/")[0].split("?")[0].rpartition("@")[2]
    return name.partition(":")[0].strip(".").removeprefix("*.")
