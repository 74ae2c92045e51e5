"""From a page's extracted text to its corpus text: what is cut as repeated, what line rules take out, what is scrubbed.

The text before is marked where the tables say; the text after is the corpus row's. It is made again to tell where the
placeholders stand, and where it comes out otherwise than the corpus has it, that is said and nothing is marked.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from assets.lake import Lake
from assets.steps.corpus import without
from assets.steps.signatures import cleaned_text
from kernels.text import pii
from kernels.text.offending import pieces
from kernels.text.pii.placeholders import placeholder
from orchestration.pages.document_rows import row_of
from orchestration.pages.hostile import Span
from orchestration.pages.word_diff import difference

MOST_CHARACTERS = 200_000  # of a text that is cleaned again here
CUT = "cut: it stands in other pages too"
LINE_RULES = ("c4_lines_long_word", "c4_lines_few_words", "c4_lines_javascript", "c4_lines_policy")
PII: dict[str, str] = {name: f"{name}: {meaning}" for name, meaning in pii.TYPES.items()}


@dataclass(frozen=True)
class Cleaned:
    """`removed`: spans of the extracted text. `corpus`: the text that models learn from, None where the page is in no
    corpus; `made`: what the text becomes now, None where it is too long to be made again; `placeholders`: spans of it.
    """

    removed: tuple[Span, ...]
    corpus: str | None
    made: str | None
    placeholders: tuple[Span, ...]

    @property
    def after(self) -> str | None:
        return self.made if self.corpus is None else self.corpus

    @property
    def after_spans(self) -> tuple[Span, ...]:
        return self.placeholders if self.after == self.made else ()

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How often each thing was taken out or replaced, the most frequent first."""
        return Counter(span.note for span in self.removed).most_common()


def cleaned(lake: Lake, row: Mapping[str, Any], text: str, line_filter: str) -> Cleaned:
    """What became of the page's text."""
    repeats = row_of(lake, "repeated_text", row, ["cut"])
    cut = (repeats or {"cut": []})["cut"] or []
    corpus = row_of(lake, "corpus", row, ["text"])
    spans = [Span(one["start"], one["end"], PII[one["type"]], "pii") for one in row["pii"] or []]
    spans += [Span(one["start"], one["end"], CUT, "removed") for one in cut]
    spans += lines_taken_out(text, cut) if line_filter == "c4" else []
    spans.sort(key=lambda span: span.start)
    made, placeholders = None, []
    if len(text) <= MOST_CHARACTERS:
        made, placeholders = scrubbed(cleaned_text(without(text, cut), line_filter), row["doc_id"])
    return Cleaned(tuple(spans), corpus["text"] if corpus else None, made, tuple(placeholders))


def lines_taken_out(text: str, cut: list[dict[str, int]]) -> Iterator[Span]:
    """The lines that C4's rules take out of what the cuts leave, as spans of the whole text; of its beginning where it
    is long."""
    begins, gone = [0], [0]  # of each piece that is left: where it begins in what is left, what was cut before it
    for span in cut:
        begins.append(span["start"] - gone[-1])
        gone.append(gone[-1] + span["end"] - span["start"])

    def place(point: int) -> int:
        return point + gone[bisect_right(begins, point) - 1]

    left = without(text, cut)[:MOST_CHARACTERS]
    for found in filter(None, (pieces(rule, left) for rule in LINE_RULES)):
        note = f"line rule: {found.note}"
        yield from (
            Span(place(start), place(end - 1) + 1, note, "removed") for start, end in found.spans if end > start
        )


def scrubbed(text: str, doc_id: str) -> tuple[str, list[Span]]:
    """`pii.scrub(text, doc_id)`, and where placeholders stand in it; where it took several rounds, the words that
    differ."""
    parts: list[str] = []
    spans: list[Span] = []
    end = place = 0
    for found in pii.find(text):
        stand_in = placeholder(found.type, text[found.start : found.end], doc_id)
        place += found.start - end
        spans.append(Span(place, place + len(stand_in), f"stands for {PII[found.type]}", "pii"))
        parts += [text[end : found.start], stand_in]
        place, end = place + len(stand_in), found.end
    made = "".join(parts) + text[end:]
    final = pii.scrub(text, doc_id)
    if final != made:
        runs = (run for run in difference(text, final).runs if run.side == "b")
        spans = [Span(run.b_start, run.b_end, "stands for personal data", "pii") for run in runs]
    return final, spans
