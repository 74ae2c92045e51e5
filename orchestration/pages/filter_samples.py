"""Pages at a rule's border with what the rule saw in them: the pieces of their text that its statistic counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from assets.lake import Lake
from assets.policy.rules import Rule
from orchestration.pages.document_rows import UnknownDocument, text_of
from orchestration.pages.hostile import Shown, Span, around, shown
from orchestration.pages.site import Site
from orchestration.pages.weighed import remembered, weighed

SHOWN = 900  # code points of a text
LONGEST = 300_000  # code points in which pieces are looked for
MOST_SPANS = 400
KEPT_TEXTS = 64
COLUMNS = ("doc_id", "snapshot", "shard", "url", "host", "language", "outcome", "pii")


@dataclass(frozen=True)
class Sample:
    """A page: its row, the statistic's value, the text around the first piece, how many pieces there are and what each
    is; `notice` says why none are marked."""

    row: dict[str, Any]
    value: Any
    text: Shown
    pieces: int
    note: str
    notice: str = ""


class Texts:
    """Texts of pages, those asked for last kept while the rows stay the same: a threshold moves to and fro."""

    def __init__(self, lake: Lake, kept: dict[tuple[str, str], str]) -> None:
        self._lake, self._kept = lake, kept

    @classmethod
    def of(cls, site: Site) -> Texts:
        """Those of the site, for one request."""
        kept = remembered(site, ("texts", weighed(site).stamp), dict)
        return cls(site.lake(), kept)

    def read(self, row: Mapping[str, Any]) -> str:
        """The page's text. Raises UnknownDocument."""
        key = (row["snapshot"], row["doc_id"])
        text = self._kept.get(key)
        if text is None:
            text = text_of(self._lake, row)
            if len(text) <= LONGEST:
                while len(self._kept) >= KEPT_TEXTS:
                    self._kept.pop(next(iter(self._kept)), None)
                self._kept[key] = text
        return text


def samples(texts: Texts, rows: pl.DataFrame, rule: Rule) -> list[Sample]:
    """A sample of each row, in their order."""
    columns = dict.fromkeys([*COLUMNS, rule.statistic])
    return [_sample(texts, row, rule) for row in rows.select(list(columns)).iter_rows(named=True)]


def _sample(texts: Texts, row: dict[str, Any], rule: Rule) -> Sample:
    value = row[rule.statistic]
    try:
        text = texts.read(row)
    except UnknownDocument:  # taken out since the rows were read
        return Sample(row, value, shown(""), 0, "", "its text is not there any more")
    spans, note, notice = pieces_of(row, rule, text)
    part = around(text, spans, SHOWN // 3) if spans else shown(text, (), SHOWN)
    return Sample(row, value, part, len(spans), note, notice)


def pieces_of(row: dict[str, Any], rule: Rule, text: str) -> tuple[list[Span], str, str]:
    """(spans to mark, what each is, why none are marked)."""
    from kernels.text.offending import pieces  # compiled loops: not when the pages start

    if rule.statistic == "pii_count":
        found = [Span(one["start"], one["end"], one["type"], "pii") for one in row["pii"] or []]
        return found[:MOST_SPANS], "personal data", ""
    if len(text) > LONGEST:
        return [], "", f"its text is longer than {LONGEST:,} characters: nothing is marked"
    named = pieces(statistic_behind(rule), text, row["language"] or "und")
    if named is None:
        return [], "", ""
    kind = "hit" if named.wanted else "rule"
    return [Span(start, end, named.note, kind) for start, end in named.spans[:MOST_SPANS]], named.note, ""


def statistic_behind(rule: Rule) -> str:
    """What the rule counts in a text: of C4's reasons the lines that give them."""
    if rule.statistic == "c4_reason" and rule.not_in:
        counted = {"lorem_ipsum": "c4_lines_lorem_ipsum", "curly_bracket": "c4_lines_curly_bracket"}
        return counted.get(rule.not_in[0], "c4_sentences")
    return rule.statistic
