"""Search as the command and the page ask it: a slice of all pages, those with its text, and pieces of them to show."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from assets.lake import Lake
from assets.searching.finding import Indexes, Opened, find
from assets.searching.index import Place
from assets.searching.query import Query, parse
from assets.searching.slices import Slice, Sliced, cut
from assets.searching.snippets import Piece, snippet
from assets.searching.texts import texts_of
from orchestration.pages.shelf import Shelf, Shelved

MAKES_INDEX = "stemma nightly"
REMEMBERED = 8  # answers whose rows are kept, so that the next page of one is only turned


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
        self._places: tuple[str, dict[Place, pl.Series]] = ("", {})

    def search(self, wanted: Slice) -> Found:
        """The pages of a slice. Raises NothingYet, QueryError, NotIndexed, BadSlice, CorruptSearchIndex."""
        shelved = self.shelf.look()
        query = parse(wanted.text) if wanted.text else None
        found, absent = None, []
        if query is not None:
            opened = self._opened(self.shelf.open(), shelved.stamp)
            found, absent = self._find(query, opened, shelved), opened.snapshots_absent
        return Found(wanted, query, cut(shelved.frame, wanted, found), absent)

    def _opened(self, lake: Lake, stamp: str) -> Opened:
        with self._lock:
            opened = self._indexes.look(lake, stamp)
            if not opened.indexes:
                self._answers.clear()
                raise NotIndexed(f"no page can be searched for words yet: `{MAKES_INDEX}` makes search_index")
        return opened

    def _find(self, query: Query, opened: Opened, shelved: Shelved) -> pl.DataFrame:
        """Columns place and relevance: the rows of the shelf that have the query's text."""
        key = (query, shelved.stamp, *(one.place for one in opened.indexes))
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
        places = self._placed(opened, shelved)
        rows = find(query, opened.indexes, lambda index: places[index.place]).drop_nulls("place")
        with self._lock:
            self._answers[key] = rows
            while len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        return rows

    def _placed(self, opened: Opened, shelved: Shelved) -> dict[Place, pl.Series]:
        """Where the rows of each index stand on the shelf; null for pages that were not measured yet."""
        stamp, known = self._places
        if stamp != shelved.stamp or any(one.place not in known for one in opened.indexes):
            rows = shelved.frame.select("doc_id", "snapshot").with_row_index("place")
            known = {
                one.place: one.doc_ids.to_frame().join(
                    rows.filter(snapshot=one.place.snapshot), on="doc_id", how="left", maintain_order="left"
                )["place"]
                for one in opened.indexes
            }
            self._places = (shelved.stamp, known)
        return known


def pieces_of(lake: Lake, rows: pl.DataFrame, query: Query | None) -> list[tuple[str, Sequence[Piece]]]:
    """(text, pieces of it to show) of each row; a page that is gone since has no text."""
    texts, terms = texts_of(lake, rows.select("snapshot", "shard", "doc_id").rows()), query.text_terms if query else ()
    found = [texts.get((snapshot, doc_id), "") for snapshot, doc_id in rows.select("snapshot", "doc_id").iter_rows()]
    return [(text, snippet(text, terms)) for text in found]


def without_text(wanted: Slice) -> Slice:
    """The same slice of all pages, whatever their text."""
    return replace(wanted, text="", sort="" if wanted.sort == "relevance" else wanted.sort)
