"""A file to which rows are added and of which none is changed: SQLite without a server, whole transactions or nothing.

Why SQLite: two people who write at once each wait for the other's transaction (a few ms) and neither is lost, and what
was said in one go is there whole or not at all. Why not in WAL mode: with a rollback journal everything lies in one
file when nobody writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 30  # how long one waits for another's transaction


class StoreUnreadable(RuntimeError):
    """The file is damaged, locked for too long, or of a newer Stemma; the message says what to do."""


class AppendingFile:
    """One file of rows. Args: `tables` is the script that makes them, `form` its number, kept in the file."""

    def __init__(self, path: Path, tables: str, form: int) -> None:
        self.path, self.tables, self.form = path, tables, form

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query; none before anything was written. Raises StoreUnreadable."""
        if not self.path.is_file():
            return []
        with self._opened() as db:
            return db.execute(query, values).fetchall() if self._form(db) else []

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes beside; it is undone when the block raises. Raises StoreUnreadable."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._opened() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                if not self._form(db):
                    for statement in _statements(self.tables):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {self.form}")
                yield db
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=PATIENCE_S, isolation_level=None)) as db:
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA foreign_keys = ON")
                db.execute("PRAGMA secure_delete = ON")  # what is removed is overwritten, not only forgotten
                yield db
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            advice = "wait for who writes there" if "locked" in str(error) else "restore it from a backup"
            raise StoreUnreadable(f"{self.path} cannot be used ({error}): {advice}") from error

    def _form(self, db: sqlite3.Connection) -> int:
        """The number of the file's form; 0: nothing was ever written."""
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found > self.form:
            raise StoreUnreadable(f"{self.path} is of a newer Stemma (format {found}, not {self.form}): install that")
        return found


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, each whole; `executescript` would commit the transaction."""
    written = ""
    for line in script.splitlines():
        written += line + "\n"
        if sqlite3.complete_statement(written):
            yield written
            written = ""
