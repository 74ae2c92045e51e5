"""The store of blind votes: `<home>/judgements/votes.sqlite`, to which pairs of answers and votes on them are added.

A match is a prompt, the answers of two models to it and how they were drawn: which models, sides and seeds follows from
one number (`draw`), which is kept with it. Answers are stored before anybody votes, so a vote names a match and can
bring in no text of its own. A vote is final.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from assets.judgements.appending import AppendingFile
from assets.judgements.said import LabelRefused, labeller_of
from models.seeds import derive

FILE, FORM = Path("judgements") / "votes.sqlite", 1
VERDICTS = ("a", "b", "tie", "both_bad")
TABLES = """
CREATE TABLE matches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, messages TEXT NOT NULL, a TEXT NOT NULL,
    b TEXT NOT NULL, sampling TEXT NOT NULL, draw INTEGER NOT NULL, made_at TEXT NOT NULL
);
CREATE TABLE votes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    match INTEGER NOT NULL UNIQUE REFERENCES matches(number), verdict TEXT NOT NULL, voter TEXT NOT NULL,
    made_at TEXT NOT NULL
);
CREATE TRIGGER matches_stay BEFORE UPDATE ON matches BEGIN SELECT RAISE(ABORT, 'a match is never changed'); END;
CREATE TRIGGER matches_remain BEFORE DELETE ON matches BEGIN SELECT RAISE(ABORT, 'a match is never removed'); END;
CREATE TRIGGER votes_stay BEFORE UPDATE ON votes BEGIN SELECT RAISE(ABORT, 'a vote is never changed'); END;
CREATE TRIGGER votes_remain BEFORE DELETE ON votes BEGIN SELECT RAISE(ABORT, 'a vote is never removed'); END;
"""


class UnknownMatch(LookupError):
    """There is no such pair of answers."""


class VoteRefused(ValueError):
    """The vote cannot be counted; the message says why."""


class AlreadyVoted(VoteRefused):
    """Somebody voted on the match before, and a vote is final."""


@dataclass(frozen=True)
class Side:
    """One answer: of which model, by its asset and digest, drawn with which seed."""

    asset: str
    model: str
    seed: int
    text: str


@dataclass(frozen=True)
class Draw:
    """What one number decides: the two models as they are shown, left (a) and right (b), and the seeds of both."""

    number: int
    a: str
    b: str
    seed_a: int
    seed_b: int


@dataclass(frozen=True)
class Match:
    """Two answers to one conversation, and the vote on them (None while nobody voted)."""

    id: str
    messages: list[dict[str, str]]
    a: Side
    b: Side
    sampling: dict[str, float]  # the controls both were drawn with
    draw: int
    vote_id: str | None = None
    verdict: str | None = None
    voter: str | None = None


@dataclass(frozen=True)
class Tally:
    """How many votes gave one verdict on these two models, shown so."""

    asset_a: str
    model_a: str
    asset_b: str
    model_b: str
    verdict: str
    votes: int


def drawn(models: Sequence[str], number: int) -> Draw:
    """Two different ones of these models (digests), their sides and seeds, all by one number. Raises VoteRefused."""
    pairs = list(combinations(sorted(set(models)), 2))
    if not pairs:
        raise VoteRefused("two different models are needed to compare answers")
    first, second = pairs[derive(number, "pair") % len(pairs)]
    a, b = (second, first) if derive(number, "sides") & 1 else (first, second)
    return Draw(number, a, b, derive(number, "a"), derive(number, "b"))


class Votes:
    """The votes of one home. Args: `home` is its local folder; the file is made with the first match."""

    def __init__(self, home: Path) -> None:
        self._file = AppendingFile(home / FILE, TABLES, FORM)

    def add_match(
        self, messages: Sequence[dict[str, str]], a: Side, b: Side, sampling: dict[str, float], draw: int
    ) -> str:
        """Keeps two answers that may be voted on; returns the id of the match."""
        identity = uuid.uuid4().hex
        row = (identity, _json(list(messages)), _json(asdict(a)), _json(asdict(b)), _json(sampling), draw, _now())
        with self._file.writing() as db:
            db.execute("INSERT INTO matches (id, messages, a, b, sampling, draw, made_at) VALUES (?,?,?,?,?,?,?)", row)
        return identity

    def vote(self, match: str, verdict: str, voter: str) -> str:
        """Counts a vote; returns its id. Raises UnknownMatch, VoteRefused, AlreadyVoted."""
        if verdict not in VERDICTS:
            raise VoteRefused(f"the verdict is {verdict[:20]!r}: say one of {', '.join(VERDICTS)}")
        try:
            name = labeller_of(voter)
        except LabelRefused as error:
            raise VoteRefused(str(error).replace("labels", "votes")) from error
        identity = uuid.uuid4().hex
        with self._file.writing() as db:
            found = db.execute("SELECT number FROM matches WHERE id = ?", (match,)).fetchone()
            if found is None:
                raise UnknownMatch(f"there is no match {match[:40]}: draw a new pair at /arena")
            row = (identity, found[0], verdict, name, _now())
            try:
                db.execute("INSERT INTO votes (id, match, verdict, voter, made_at) VALUES (?,?,?,?,?)", row)
            except sqlite3.IntegrityError as error:
                raise AlreadyVoted("this pair was voted on before, and a vote is final: draw a new one") from error
        return identity

    def match(self, identity: str) -> Match:
        """One match. Raises UnknownMatch."""
        found = self._matches("m.id = ?", (identity,))
        if not found:
            raise UnknownMatch(f"there is no match {identity[:40]}: draw a new pair at /arena")
        return found[0]

    def voted(self) -> list[Match]:
        """All matches that somebody voted on, in the order of the votes."""
        return self._matches("v.number IS NOT NULL", ())

    def tally(self) -> list[Tally]:
        """How often each verdict fell, by who was shown where; reads no text."""
        query = """
            SELECT json_extract(m.a, '$.asset'), json_extract(m.a, '$.model'), json_extract(m.b, '$.asset'),
                   json_extract(m.b, '$.model'), v.verdict, count(*)
            FROM votes v JOIN matches m ON m.number = v.match GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
        """
        return [Tally(*row) for row in self._file.rows(query)]

    def digest(self) -> str:
        """Of all votes: the same while nobody votes. "" before the first vote."""
        ids = self._file.rows("SELECT id FROM votes ORDER BY number")
        return hashlib.sha256("".join(one for (one,) in ids).encode()).hexdigest()[:32] if ids else ""

    def _matches(self, where: str, values: Sequence[Any]) -> list[Match]:
        query = f"""
            SELECT m.id, m.messages, m.a, m.b, m.sampling, m.draw, v.id, v.verdict, v.voter
            FROM matches m LEFT JOIN votes v ON v.match = m.number WHERE {where} ORDER BY v.number, m.number
        """  # noqa: S608
        return [
            Match(row[0], json.loads(row[1]), Side(**json.loads(row[2])), Side(**json.loads(row[3])), *_rest(row))
            for row in self._file.rows(query, values)
        ]


def _rest(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (json.loads(row[4]), *row[5:])


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
