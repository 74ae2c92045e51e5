"""The store of labels: `<home>/judgements/labels.sqlite`, to which rows are added and of which none is changed.

Everything is a batch: what one labeller said in one go of one page or of ten thousand, in one transaction. Undoing a
batch adds another that names it, so the history stays. Why the file is SQLite, with a rollback journal and not in WAL
mode: see `appending.py`; and a takedown, which alone removes rows, leaves no side file in which a page is still read.

What was judged is a text, so the part of it that the classifier reads is kept beside the label: training does not
depend on what is crawled or extracted later. A takedown removes both.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assets.judgements.appending import AppendingFile
from assets.judgements.said import Said, labeller_of, source_of

FOLDER, FILE = "judgements", "labels.sqlite"
FORM = 1
TABLES = """
CREATE TABLE batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, labeller TEXT NOT NULL, source TEXT NOT NULL,
    made_at TEXT NOT NULL, undoes INTEGER UNIQUE REFERENCES batches(number)
);
CREATE TABLE labels (
    number INTEGER PRIMARY KEY AUTOINCREMENT, batch INTEGER NOT NULL REFERENCES batches(number), doc_id TEXT NOT NULL,
    content_hash TEXT NOT NULL, label TEXT NOT NULL, tags TEXT NOT NULL, note TEXT NOT NULL
);
CREATE TABLE pages (
    doc_id TEXT NOT NULL, content_hash TEXT NOT NULL, snapshot TEXT NOT NULL, url TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (doc_id, content_hash)
);
CREATE INDEX labels_by_page ON labels(doc_id);
CREATE INDEX labels_by_batch ON labels(batch);
CREATE INDEX batches_by_labeller ON batches(labeller);
CREATE TRIGGER labels_stay BEFORE UPDATE ON labels BEGIN SELECT RAISE(ABORT, 'a label is never changed'); END;
CREATE TRIGGER batches_stay BEFORE UPDATE ON batches BEGIN SELECT RAISE(ABORT, 'a batch is never changed'); END;
CREATE VIEW standing AS SELECT * FROM batches b
WHERE b.undoes IS NULL AND NOT EXISTS (SELECT 1 FROM batches u WHERE u.undoes = b.number);
CREATE VIEW emptied AS SELECT number FROM batches
WHERE undoes IS NULL AND number NOT IN (SELECT batch FROM labels);
"""  # what has been emptied, by a takedown alone, goes too: its filter may say what the page was about
NEWEST = """
SELECT max(l.number), b.labeller, l.doc_id, l.content_hash, l.label, l.tags, l.note, b.source, b.made_at, p.snapshot,
       p.url
FROM labels l JOIN standing b ON b.number = l.batch JOIN pages p USING (doc_id, content_hash)
GROUP BY b.labeller, l.doc_id ORDER BY b.labeller, l.doc_id
"""  # of bare columns SQLite takes the row that has the maximum


class NothingToUndo(LookupError):
    """There is no such batch of this labeller that stands."""


@dataclass(frozen=True)
class Batch:
    """What was said in one go. `label`: the one of all its pages, "" where they differ. `made_at`: ISO 8601, UTC."""

    number: int
    id: str
    labeller: str
    label: str
    pages: int
    source: dict[str, str]
    made_at: str
    undone: bool


class Judgements:
    """The labels of one home. Args: `home` is its local folder; the store is made when something is first said."""

    def __init__(self, home: Path) -> None:
        self.path = home / FOLDER / FILE
        self._file = AppendingFile(self.path, TABLES, FORM)

    def add(
        self,
        said: Sequence[Said],
        labeller: str,
        source: Mapping[str, str] | None = None,
        now: datetime | None = None,
    ) -> str:
        """Keeps what one labeller says, all or nothing; returns the id of the batch.

        source: the filter that the pages were found by. now: when it is said (default: the clock).
        Raises LabelRefused, StoreUnreadable, ValueError (nothing said).
        """
        return self.add_all([(labeller, said)], source, now)[0]

    def add_all(
        self,
        by_labeller: Sequence[tuple[str, Sequence[Said]]],
        source: Mapping[str, str] | None = None,
        now: datetime | None = None,
    ) -> list[str]:
        """`add` of several labellers in one transaction; returns the ids of their batches."""
        if not by_labeller or not all(said for _, said in by_labeller):
            raise ValueError("nothing is said of any page")
        named = [(labeller_of(labeller), said) for labeller, said in by_labeller]
        found_by, ids = json.dumps(source_of(source)), []
        with self._file.writing() as db:
            for labeller, said in named:
                ids.append(uuid.uuid4().hex)
                row = (ids[-1], labeller, found_by, _now(now))
                batch = db.execute("INSERT INTO batches (id, labeller, source, made_at) VALUES (?, ?, ?, ?)", row)
                pages = {(one.page.doc_id, one.page.content_hash): one.page for one in said}
                db.executemany(
                    "INSERT OR IGNORE INTO pages (doc_id, content_hash, snapshot, url, text) VALUES (?, ?, ?, ?, ?)",
                    [(p.doc_id, p.content_hash, p.snapshot, p.url, p.text) for p in pages.values()],
                )
                db.executemany(
                    "INSERT INTO labels (batch, doc_id, content_hash, label, tags, note) VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (batch.lastrowid, s.page.doc_id, s.page.content_hash, s.label, " ".join(s.tags), s.note)
                        for s in said
                    ],
                )
        return ids

    def undo(self, labeller: str, batch: str | None = None, now: datetime | None = None) -> Batch:
        """Takes back one batch of a labeller (None: the newest that stands): what counted before it counts again.

        Raises NothingToUndo, StoreUnreadable.
        """
        labeller = labeller_of(labeller)
        with self._file.writing() as db:
            query = "SELECT max(number) FROM standing WHERE labeller = ? AND (? IS NULL OR id = ?)"
            number = db.execute(query, (labeller, batch, batch)).fetchone()[0]
            if number is None:
                what = "nothing" if batch is None else f"no batch {batch[:40]}"
                raise NothingToUndo(f"{labeller} has {what} to undo")
            row = (uuid.uuid4().hex, labeller, "{}", _now(now), number)
            db.execute("INSERT INTO batches (id, labeller, source, made_at, undoes) VALUES (?, ?, ?, ?, ?)", row)
        return next(one for one in self.batches(labeller) if one.number == number)

    def batches(self, labeller: str | None = None, most: int = 1000) -> list[Batch]:
        """What was said, the newest first; of one labeller or all."""
        query = """
            SELECT b.number, b.id, b.labeller, min(l.label), max(l.label), count(*), b.source, b.made_at,
                   EXISTS (SELECT 1 FROM batches u WHERE u.undoes = b.number)
            FROM batches b JOIN labels l ON l.batch = b.number WHERE ? IS NULL OR b.labeller = ?
            GROUP BY b.number ORDER BY b.number DESC LIMIT ?
        """
        rows = self._file.rows(query, (labeller, labeller, most))
        return [
            Batch(number, id_, who, first if first == last else "", pages, json.loads(source), at, bool(undone))
            for number, id_, who, first, last, pages, source, at, undone in rows
        ]

    def newest(self) -> list[dict[str, Any]]:
        """What counts: the newest standing label of every labeller on every page, sorted by labeller and doc_id.

        Keys: labeller, doc_id, snapshot, url, content_hash, label, tags (a list), note, source (a dict), made_at.
        """
        names = ("labeller", "doc_id", "content_hash", "label", "tags", "note", "source", "made_at", "snapshot", "url")
        found = [dict(zip(names, row[1:], strict=True)) for row in self._file.rows(NEWEST)]
        return [row | {"tags": row["tags"].split(), "source": json.loads(row["source"])} for row in found]

    def table(self) -> list[tuple[str, str, str, str, str, str]]:
        """The same as rows (doc_id, snapshot, content_hash, labeller, label, tags by spaces): quick for many."""
        return [(row[2], row[9], row[3], row[1], row[4], row[5]) for row in self._file.rows(NEWEST)]

    def urls(self, doc_ids: Iterable[str]) -> dict[str, str]:
        """doc_id → address, of the pages among these that somebody judged."""
        query = "SELECT doc_id, url FROM pages WHERE doc_id IN (SELECT value FROM json_each(?))"
        return dict(self._file.rows(query, (json.dumps(sorted(doc_ids)),)))

    def labelled_by(self, labeller: str) -> set[str]:
        """doc_ids of the pages of which the labeller said something that stands."""
        query = "SELECT DISTINCT l.doc_id FROM standing b JOIN labels l ON l.batch = b.number WHERE b.labeller = ?"
        return {doc_id for (doc_id,) in self._file.rows(query, (labeller,))}

    def of_page(self, doc_id: str) -> list[dict[str, Any]]:
        """All that was ever said of a page, the oldest first; `undone` tells what was taken back."""
        query = """
            SELECT b.labeller, l.label, l.tags, l.note, b.made_at, l.content_hash,
                   EXISTS (SELECT 1 FROM batches u WHERE u.undoes = b.number)
            FROM labels l JOIN batches b ON b.number = l.batch WHERE l.doc_id = ? ORDER BY l.number
        """
        names = ("labeller", "label", "tags", "note", "made_at", "content_hash", "undone")
        found = [dict(zip(names, row, strict=True)) for row in self._file.rows(query, (doc_id,))]
        return [row | {"tags": row["tags"].split(), "undone": bool(row["undone"])} for row in found]

    def texts(self) -> list[tuple[str, str, str, str]]:
        """(doc_id, content_hash, snapshot, text) of every text that was ever judged, sorted."""
        return self._file.rows("SELECT doc_id, content_hash, snapshot, text FROM pages ORDER BY doc_id, content_hash")

    def state(self) -> str:
        """What changes whenever something is said, undone or taken out; "" before that. Cheap to ask for."""
        found = self._file.rows("SELECT (SELECT total(seq) FROM sqlite_sequence), (SELECT count(*) FROM labels)")
        return f"{int(found[0][0])} events, {found[0][1]} labels" if found else ""

    # ---- takedowns ----

    def held(self, ids: Iterable[str]) -> dict[str, int]:
        """snapshot → how many of these documents somebody judged there."""
        query = """
            SELECT snapshot, count(DISTINCT doc_id) FROM pages WHERE doc_id IN (SELECT value FROM json_each(?))
            GROUP BY snapshot ORDER BY snapshot
        """
        return dict(self._file.rows(query, (json.dumps(sorted(ids)),)))

    def remove(self, ids: Iterable[str]) -> int:
        """Removes everything that was said of these documents, and its bytes; returns how many labels went."""
        wanted = (json.dumps(sorted(ids)),)
        if not self.held(json.loads(wanted[0])):
            return 0
        with self._file.writing() as db:
            gone = db.execute("DELETE FROM labels WHERE doc_id IN (SELECT value FROM json_each(?))", wanted).rowcount
            db.execute("DELETE FROM pages WHERE doc_id IN (SELECT value FROM json_each(?))", wanted)
            db.execute("DELETE FROM batches WHERE undoes IN emptied")
            db.execute("DELETE FROM batches WHERE number IN emptied")
        return gone


def _now(now: datetime | None) -> str:
    return (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
