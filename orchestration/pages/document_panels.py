"""What each panel of a page's journey shows. A panel reads what it needs and nothing else, and is asked for by itself.

What a panel cannot find (no record, no tokens yet) is said in the panel: the rest of the page is not hurt by it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from assets.artifacts import ArtifactMissing
from assets.descent import MADE_FROM
from assets.policy import Policy
from assets.steps.scopes import scope
from orchestration.pages import document_cleaning as cleaning
from orchestration.pages import document_duplicates as duplicates
from orchestration.pages import document_source as source
from orchestration.pages import document_tokens, reaches
from orchestration.pages.document_made import made_from
from orchestration.pages.document_rows import Document, row_of, rows_of, text_of
from orchestration.pages.document_rules import MOST_LOOKED_AT, pieces_of, shown_rule, verdicts
from orchestration.pages.document_texts import window
from orchestration.pages.hostile import Span
from orchestration.pages.site import Site

BEFORE_TEXT = 300  # characters of source that are shown before the first that went into the text


@dataclass(frozen=True)
class View:
    """What is looked at: a page, under a policy, and from where its longer texts are shown."""

    page: Document
    policy: Policy
    source_from: int | None = None
    text_from: int = 0
    corpus_from: int = 0
    diff_from: int = 0
    tokens_from: int = 0
    span: int = 0
    against: str | None = None
    rule: str | None = None


def spans_panel(site: Site, view: View) -> dict[str, Any]:
    """The text with the pieces marked that one rule counts: the one asked for, else the one that dropped the page."""
    row = view.page.row
    found = verdicts(row, view.policy)
    verdict = shown_rule(found, view.rule)
    if verdict is None:
        return {"rule": None, "dropped": any(one.state == "failed" for one in found)}
    text = text_of(site.lake(), row)
    counted = pieces_of(verdict.rule, text, row["language"] or "und")
    spans = [Span(start, end, counted.note, "rule") for start, end in counted.spans]
    return {
        "rule": verdict.rule.rule,
        "verdict": verdict,
        "pieces": len(spans),
        "note": counted.note,
        "wanted": counted.wanted,
        "looked_at": MOST_LOOKED_AT,
        "is_cut": len(text) > MOST_LOOKED_AT,
        "text": window(text, spans, view.text_from),
    }


def source_panel(site: Site, view: View) -> dict[str, Any]:
    """The record's source with what went into the text marked, beside the text with what it shares with tests."""
    lake, row = site.lake(), view.page.row
    text = text_of(lake, row)
    hits = list(rows_of(lake, "contamination", row, ["set", "item", "part", "n_matches", "n_ngrams", "start", "end"]))
    spans = [
        Span(hit["start"], hit["end"], f"also in {hit['set']}, {hit['part']} {hit['item']}", "hit") for hit in hits
    ]
    values = {"text": window(text, spans, view.text_from), "hits": hits, "problem": "", "record": None}
    try:
        record = source.reread(row)
    except source.RecordAway as error:
        return values | {"problem": str(error)}
    marked = source.origins(record.source, text, row["content_type"] == "text/plain")
    start = max(marked[0].start - BEFORE_TEXT, 0) if marked else 0
    start = start if view.source_from is None else view.source_from
    return values | {"record": record, "source": window(record.source, marked, start), "marks": len(marked)}


def duplicates_panel(site: Site, view: View) -> dict[str, Any]:
    """The clusters that the page is in, and its text against another member's."""
    lake, page = site.lake(), view.page
    found = duplicates.clusters(site, lake, page)
    other = duplicates.other_of(found, page, view.against)
    if other is None:
        return {"clusters": found, "compared": None}
    shelf = site.shelf.page(other["doc_id"], other["snapshot"])
    theirs = row_of(lake, "documents", shelf, ["text"]) if shelf is not None else None
    if theirs is None:
        return {"clusters": found, "compared": None}
    compared = duplicates.compared(other, theirs["text"], text_of(lake, page.row))
    return {"clusters": found, "compared": compared, "diff": window(compared.text, compared.spans, view.diff_from)}


def cleaning_panel(site: Site, view: View) -> dict[str, Any]:
    """The extracted text with what is taken out of it, beside the text that models learn from."""
    lake, row = site.lake(), view.page.row
    text = text_of(lake, row)
    found = cleaning.cleaned(lake, row, text, view.policy.line_filter)
    before = window(text, found.removed, view.text_from)
    after = None if found.after is None else window(found.after, found.after_spans, view.corpus_from)
    return {"found": found, "before": before, "after": after}


def tokens_panel(site: Site, view: View) -> dict[str, Any]:
    """The document's tokens as the shards hold them, and where."""
    lake = site.lake()
    try:
        shards = document_tokens.Tokens(lake)
        places = shards.places(view.page.doc_id)
        if not places:
            return {"problem": "", "places": places, "digest": shards.digest}
        tokenizer = shards.tokenizer()
    except ArtifactMissing as error:
        return {"problem": str(error), "places": []}
    place = places[view.span] if 0 <= view.span < len(places) else places[0]
    first = min(max(view.tokens_from, 0), max(place.length - 1, 0))
    ids = shards.ids(place, first, document_tokens.TOKENS_SHOWN)
    corpus = row_of(lake, "corpus", view.page.row, ["text"])
    spelled = None
    if place.length <= document_tokens.MOST_DECODED and corpus is not None:
        spelled = document_tokens.text_of(tokenizer, shards.ids(place)) == corpus["text"]
    return {
        "problem": "",
        "places": places,
        "place": place,
        "digest": shards.digest,
        "vocab_size": shards.manifest["vocab_size"],
        "tokens": list(document_tokens.spelled(tokenizer, ids, first)),
        "first": first,
        "is_the_corpus_text": spelled,
    }


def holders_panel(site: Site, view: View) -> dict[str, Any]:
    """Everything that holds the page, as far as it was looked for."""
    report = reaches.of(site).ask(scope("document", view.page.doc_id))
    has_rows = any(one["what"] == MADE_FROM for one in report.held_by)
    return {"report": report, "made": made_from(site.lake(), view.page.doc_id) if has_rows else []}


@dataclass(frozen=True)
class Panel:
    """One panel: its name in the address, its heading, what is in it, and what makes it."""

    name: str
    title: str
    about: str
    build: Callable[[Site, View], dict[str, Any]]


PANELS = {
    panel.name: panel
    for panel in [
        Panel("spans", "What the rule saw", "the pieces of the text that a rule counts", spans_panel),
        Panel("source", "Source and text", "what was fetched beside what was extracted", source_panel),
        Panel("duplicates", "Duplicates", "its cluster, who stays, and how the texts differ", duplicates_panel),
        Panel("cleaning", "Cleaning", "what is cut, taken out and scrubbed before models read it", cleaning_panel),
        Panel("tokens", "Tokens", "its ids as the shards hold them", tokens_panel),
        Panel("holders", "Who holds it", "tables, shards, models, data made of it, exports", holders_panel),
    ]
}


def warm() -> None:
    """Loads what the first panels would wait for: compiled kernels, word lists, patterns, the public suffix list."""
    from kernels.text import c4, pii
    from kernels.text.offending import pieces
    from models.data import encoder

    text = "Some words of a text, and some words of a text.\nCall +1 415 555 2671 or write to jane@example.org.\n"
    pii.scrub(c4.cleaned_text(text), "")
    for statistic in ("dup_5_gram_char_frac", "c4_lines_few_words"):
        pieces(statistic, text)
    scope("host", "example.org")
    encoder.byte_characters()
