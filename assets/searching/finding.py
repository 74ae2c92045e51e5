"""Finding: every page that a query means, over the indexes of all shards, each with its relevance (BM25).

How rare a word is is asked of all shards together, so that pages of different shards are ranked by one measure. Only
the mean length of a text, which BM25 sets a text's length against, is each shard's own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from assets.lake import Lake, TableMissing
from assets.searching.index import FOLDER, Place, ShardIndex, wanted
from assets.searching.query import Query, Term

if TYPE_CHECKING:
    import tantivy

DECIMALS = 4  # of a relevance: beyond them, sums in another order differ
Frequencies = dict[tuple[str, str], int]


@dataclass(frozen=True)
class Opened:
    """Indexes that can be asked, and the shards of the documents that have none of their present state."""

    indexes: list[ShardIndex]
    absent: list[Place]

    @property
    def snapshots_absent(self) -> list[str]:
        return sorted({place.snapshot for place in self.absent})


class Indexes:
    """The indexes of one home, kept open from one question to the next while their folders are there."""

    def __init__(self) -> None:
        self._open: dict[Place, ShardIndex] = {}
        self._looked: tuple[str, list[Place]] | None = None

    def look(self, lake: Lake, stamp: str | None = None) -> Opened:
        """The indexes of the documents as they are. stamp: changes when the documents do; None: look every time.

        Raises CorruptSearchIndex. What a takedown removed is let go of, so that no mapping keeps its bytes.
        """
        if self._looked is None or stamp is None or self._looked[0] != stamp:
            try:
                places = list(wanted(lake))
            except TableMissing:
                places = []
            self._looked = (stamp or "", places)
        places = self._looked[1]
        there = _there(lake) if places else set()
        known, self._open = self._open, {}
        for place in places:
            if (place.snapshot, place.shard, place.name) in there:
                self._open[place] = known.get(place) or ShardIndex(place)
        return Opened(list(self._open.values()), [place for place in places if place not in self._open])


def _there(lake: Lake) -> set[tuple[str, str, str]]:
    """(snapshot, shard, name) of the folders that are there; a folder has its name when it is whole."""
    found = set()
    for snapshot in _names(lake.local / FOLDER):
        for shard in _names(lake.local / FOLDER / snapshot):
            found |= {(snapshot, shard, name) for name in _names(lake.local / FOLDER / snapshot / shard)}
    return found


def _names(folder: os.PathLike[str]) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".") and entry.is_dir()]
    except FileNotFoundError:
        return []


def find(query: Query, indexes: list[ShardIndex], names: Callable[[ShardIndex], pl.Series]) -> pl.DataFrame:
    """Every page that the query means, in no order: its name, as `names` has it by row of an index, and `relevance`."""
    n, frequencies = sum(one.n_documents for one in indexes), _frequencies(query, indexes)
    frames = []
    for one in indexes:
        rows, relevance = one.matching(_asked(query, one, n, frequencies))
        frames.append(pl.DataFrame([names(one).gather(rows), relevance.round(DECIMALS)]))
    return pl.concat(frames)


def _terms(query: Query) -> list[Term]:
    return [*(term for group in query.groups for term in group), *query.without]


def _frequencies(query: Query, indexes: list[ShardIndex]) -> Frequencies:
    """In how many documents of all indexes each word of the query occurs, by field."""
    words = {(term.field, word) for term in _terms(query) if term.field == "text" for word in term.words}
    return {(field, word): sum(one.searcher.doc_freq(field, word) for one in indexes) for field, word in words}


def rarity(n: int, frequency: int) -> float:
    """BM25's inverse document frequency, as tantivy (and Lucene) has it: ln(1 + (N - n + 0.5) / (n + 0.5))."""
    return math.log1p((n - frequency + 0.5) / (frequency + 0.5))


def _asked(query: Query, index: ShardIndex, n: int, frequencies: Frequencies) -> tantivy.Query:
    import tantivy

    def asked(term: Term) -> tantivy.Query:
        if len(term.words) > 1:
            one = tantivy.Query.phrase_query(index.schema, term.field, list(term.words))
        else:
            one = tantivy.Query.term_query(index.schema, term.field, " ".join(term.words))
        if term.field != "text":  # an address is there or not: it makes no text more relevant
            return tantivy.Query.const_score_query(one, 0.0)
        own = sum(rarity(index.n_documents, index.searcher.doc_freq(term.field, word)) for word in term.words)
        everywhere = sum(rarity(n, frequencies[term.field, word]) for word in term.words)
        return tantivy.Query.boost_query(one, everywhere / own)

    must, should, never = tantivy.Occur.Must, tantivy.Occur.Should, tantivy.Occur.MustNot
    parts = [(must, tantivy.Query.boolean_query([(should, asked(term)) for term in group])) for group in query.groups]
    if not parts:
        parts = [(must, tantivy.Query.const_score_query(tantivy.Query.all_query(), 0.0))]
    return tantivy.Query.boolean_query([*parts, *((never, asked(term)) for term in query.without)])
