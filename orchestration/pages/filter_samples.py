"""Pages at a rule's border with what the rule saw in them: the pieces of their text that its statistic counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from assets.lake import Lake
from assets.policy.rules import Rule
from orchestration.pages.document_rows import UnknownDocument, text_of
from orchestration.pages.hostile import Shown, Span, around, shown

SHOWN = 900  # code points of a text
LONGEST = 300_000  # code points in which pieces are looked for
MOST_SPANS = 400
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


def samples(lake: Lake, rows: pl.DataFrame, rule: Rule) -> list[Sample]:
    """A sample of each row, in their order."""
    columns = dict.fromkeys([*COLUMNS, rule.statistic])
    return [_sample(lake, row, rule) for row in rows.select(list(columns)).iter_rows(named=True)]


def _sample(lake: Lake, row: dict[str, Any], rule: Rule) -> Sample:
    value = row[rule.statistic]
    try:
        text = text_of(lake, row)
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
