"""What the pages of labels show: the filter, the next pages of one labeller's queue, what a bulk label is about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np
import polars as pl

from assets.judgements.said import Page
from assets.judgements.store import Batch, Judgements
from assets.policy.rules import CURATED
from assets.searching.slices import Slice, Sliced, slice_of
from assets.searching.texts import texts_of
from kernels.text.quality_model import READ_POINTS
from models.evaluation.agreement import drawn, queue
from orchestration.pages.hostile import Shown, shown
from orchestration.pages.site import Site

AHEAD = 2  # pages of the queue that are read at once: the one to label and the one after it
MOST_AT_ONCE = 20_000  # pages of a bulk label: their texts are kept with it
RECENT = 8  # of what somebody said, to undo
SCORES = (CURATED, "quality_score", "language_score", "n_words")
TEXT_SHOWN = 12_000  # code points


class TooMany(ValueError):
    """A filter holds more pages than can be labelled at once, or none."""


class PageChanged(ValueError):
    """The page is not the one any more that somebody looked at."""


@dataclass(frozen=True)
class Item:
    """One page to label: its row on the shelf, its text as it may be shown, and its scores by name."""

    row: dict[str, Any]
    text: Shown
    scores: dict[str, float | None]


@dataclass(frozen=True)
class Queue:
    """The next pages of somebody. `total` pages are in the filter, `left` of them are not labelled by them."""

    items: list[Item]
    total: int
    left: int


def filter_of(pairs: Iterable[tuple[str, str]]) -> Slice:
    """The slice of an address; `rule` is another word for `reason`. Raises BadSlice."""
    return slice_of((("reason" if name == "rule" else name), value) for name, value in pairs)


def filter_in(query: str) -> Slice:
    """The same of a query string that a form carries. Raises BadSlice."""
    return filter_of(parse_qsl(query[:20_000], max_num_fields=1000))


def address(wanted: Slice, by: str = "", path: str = "/labels", **more: object) -> str:
    """Where a filter is labelled by somebody; parameters without a value are left out."""
    pairs = [*wanted.pairs(), ("by", by), *((name, str(value)) for name, value in more.items() if value)]
    query = urlencode([pair for pair in pairs if pair[1] or pair[0] in ("from", "to")])
    return f"{path}?{query}" if query else path


def source(wanted: Slice) -> dict[str, str]:
    """The filter as it is remembered with a label."""
    found: dict[str, list[str]] = {}
    for name, value in wanted.pairs():
        found.setdefault(name, []).append(value)
    return {name: ", ".join(values) for name, values in found.items() if any(values)}


def queue_of(site: Site, sliced: Sliced, store: Judgements, by: str, skipped: int) -> Queue:
    """What somebody should label next of a slice; see models/evaluation/agreement.py."""
    score = CURATED if CURATED in sliced.frame.columns else "quality_score"
    places = sliced.order["place"]
    rows = sliced.frame.select("doc_id", score)[places]
    ids, scores = rows["doc_id"].to_list(), rows[score].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    done = store.labelled_by(by)
    left = len(ids) - len(done.intersection(ids))
    draw = _draws(site, sliced.frame)[places.to_numpy()]
    chosen = queue(ids, scores, done, length=AHEAD, draw=draw, skipped=min(skipped, max(left - 1, 0)))
    return Queue(items(site, sliced.frame[[places[ids.index(one)] for one in chosen]]), len(ids), left)


def _draws(site: Site, frame: pl.DataFrame) -> np.ndarray:
    """The draw of every page on the shelf; made once while the tables are the same."""
    kept = site.kept.get("label draws")
    if kept is None or kept[0] is not frame:
        kept = site.kept["label draws"] = (frame, drawn(frame["doc_id"].to_list()))
    return kept[1]


def items(site: Site, rows: pl.DataFrame) -> list[Item]:
    """Rows of the shelf as pages to label, with their texts."""
    texts = texts_of(site.lake(), rows.select("snapshot", "shard", "doc_id").rows())
    found = []
    for row in rows.to_dicts():
        text = texts.get((row["snapshot"], row["doc_id"]), "")
        found.append(Item(row, shown(text, longest=TEXT_SHOWN), {name: row[name] for name in SCORES if name in row}))
    return found


def judged(site: Site, doc_id: str, snapshot: str, content_hash: str) -> Page:
    """The page that somebody looked at, to be kept with the label. Raises PageChanged."""
    row = site.shelf.page(doc_id, snapshot)
    if row is None or row["content_hash"] != content_hash:
        raise PageChanged("the page was taken out or its text changed since it was shown: look at the next one")
    key = (row["snapshot"], row["doc_id"])
    text = texts_of(site.lake(), [(row["snapshot"], row["shard"], row["doc_id"])]).get(key)
    if text is None:
        raise PageChanged("the page was taken out since it was shown: look at the next one")
    return Page(row["doc_id"], row["snapshot"], row["url"] or "", row["content_hash"], text[:READ_POINTS])


@dataclass(frozen=True)
class Bulk:
    """All pages of a filter, once each. `digest` tells another set of pages from this one."""

    rows: pl.DataFrame

    @property
    def digest(self) -> str:
        pages = self.rows.select("doc_id", "content_hash").sort("doc_id").iter_rows()
        return hashlib.sha256("".join(f"{a} {b}\n" for a, b in pages).encode()).hexdigest()[:32]

    def pages(self, site: Site) -> list[Page]:
        """The pages with their texts. Raises PageChanged."""
        rows = self.rows.select("snapshot", "shard", "doc_id", "url", "content_hash").rows()
        texts = texts_of(site.lake(), [row[:3] for row in rows])
        if len(texts) != len(rows):
            raise PageChanged("pages of the filter were taken out meanwhile: look at it again")
        return [
            Page(doc_id, snapshot, url or "", content_hash, texts[snapshot, doc_id][:READ_POINTS])
            for snapshot, _, doc_id, url, content_hash in rows
        ]


def bulk_of(sliced: Sliced) -> Bulk:
    """What a bulk label of a slice is about. Raises TooMany."""
    columns = ["doc_id", "snapshot", "shard", "url", "content_hash"]
    rows = sliced.frame.select(columns)[sliced.order["place"]].unique("doc_id", keep="first", maintain_order=True)
    if not 0 < rows.height <= MOST_AT_ONCE:
        raise TooMany(f"the filter holds {rows.height:,} pages: from 1 to {MOST_AT_ONCE:,} can be labelled at once")
    return Bulk(rows)


def recent(store: Judgements, by: str) -> list[Batch]:
    """What somebody said last."""
    return store.batches(by, RECENT)


def curves(manifest: Mapping[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """Precision and recall by threshold, as a chart takes them."""
    from assets.judgements.report import at_thresholds

    rows = at_thresholds(dict(manifest))
    return {name: [(row.threshold, getattr(row, name)) for row in rows] for name in ("precision", "recall")}
