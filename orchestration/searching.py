"""Search as the command and the page ask it: a slice of all pages, those with its text, and pieces of them to show."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from assets.lake import Lake
from assets.searching.finding import Indexes, Opened, find
from assets.searching.query import Query, parse
from assets.searching.slices import Slice, Sliced, cut
from assets.searching.snippets import Piece, snippet
from orchestration.pages.shelf import Shelf

MAKES_INDEX = "stemma nightly"
REMEMBERED = 8  # answers whose rows are kept, so that the next page of one is only turned
SHOWN = 2_000_000  # code points of a text that are read


class NotIndexed(LookupError):
    """No page can be searched for words yet; the message says what makes the index."""


@dataclass(frozen=True)
class Found:
    """The answer. `query`: how the text was read, None where none was asked. `absent`: snapshots of which some pages
    are in no index of their present state, so that no text can find them."""

    wanted: Slice
    query: Query | None
    sliced: Sliced
    absent: list[str]


class Searcher:
    """Answers about one home, with the indexes and the last answers kept while the tables are the same."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._indexes, self._lock = Indexes(), threading.Lock()
        self._answers: OrderedDict[tuple[object, ...], pl.DataFrame] = OrderedDict()

    def search(self, wanted: Slice) -> Found:
        """The pages of a slice. Raises NothingYet, QueryError, NotIndexed, BadSlice, CorruptSearchIndex."""
        shelved = self.shelf.look()
        query = parse(wanted.text) if wanted.text else None
        found, absent = None, []
        if query is not None:
            opened = self._opened(self.shelf.open(), shelved.stamp)
            found, absent = self._find(query, opened), opened.snapshots_absent
        return Found(wanted, query, cut(shelved.frame, wanted, found), absent)

    def _opened(self, lake: Lake, stamp: str) -> Opened:
        with self._lock:
            opened = self._indexes.look(lake, stamp)
            if not opened.indexes:
                self._answers.clear()
                raise NotIndexed(f"no page can be searched for words yet: `{MAKES_INDEX}` makes search_index")
        return opened

    def _find(self, query: Query, opened: Opened) -> pl.DataFrame:
        key = (query, *(one.place for one in opened.indexes))
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
        rows = find(query, opened.indexes)
        with self._lock:
            self._answers[key] = rows
            while len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        return rows


def texts_of(lake: Lake, rows: pl.DataFrame) -> dict[tuple[str, str], str]:
    """(doc_id, snapshot) → text of some rows, read by shard."""
    if rows.is_empty():
        return {}
    wanted = {name: rows[name].unique().to_list() for name in ("doc_id", "snapshot", "shard")}
    documents = lake.scan("documents").filter(pl.all_horizontal(pl.col(n).is_in(v) for n, v in wanted.items()))
    text = pl.col("text").str.slice(0, SHOWN)
    return {(i, s): t or "" for i, s, t in documents.select("doc_id", "snapshot", text).collect().iter_rows()}


def pieces_of(lake: Lake, rows: pl.DataFrame, query: Query | None) -> list[tuple[str, Sequence[Piece]]]:
    """(text, pieces of it to show) of each row; a page that is gone since has no text."""
    texts, terms = texts_of(lake, rows), query.text_terms if query else ()
    found = [texts.get(key, "") for key in rows.select("doc_id", "snapshot").iter_rows()]
    return [(text, snippet(text, terms)) for text in found]


def without_text(wanted: Slice) -> Slice:
    """The same slice of all pages, whatever their text."""
    return replace(wanted, text="", sort="" if wanted.sort == "relevance" else wanted.sort)
