"""A page's record, read again from its WARC file: whether it is still the page, and its source beside the text.

Which parts of the source went into the text is told by words: runs of RUN words between tags that stand in the text in
the same order. It says where the extractor looked, not how it decided; a run that occurs twice is marked twice.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from html import unescape
from typing import Any

from assets.resources import CrawlResource
from assets.steps.documents import host_of
from assets.steps.warc import Page, RecordNotFound, read_record
from kernels.text.html import UndecodablePage, decode
from orchestration.pages.hostile import Span

RUN = 4
MOST_SOURCE, MOST_TEXT = 500_000, 100_000  # characters that are compared
NOTE = "in the text"
_WORD = re.compile(r"(?:\w|&#?\w{1,8};)+")
_PLAIN = re.compile(r"\w+")
_OPAQUE = ("script", "style")


class RecordAway(RuntimeError):
    """The record cannot be read again from its WARC file; the message says why and what to do."""


@dataclass(frozen=True)
class Reread:
    """A record as its WARC file holds it now. `differs`: what is not as it was when the page was read, in words.

    `source` ends its lines in line feeds alone.
    """

    source: str
    charset: str
    body_bytes: int
    differs: tuple[str, ...]


def reread(row: Mapping[str, Any]) -> Reread:
    """Reads the record at the page's place, compares identity and digest, and decodes its body. Raises RecordAway."""
    root = CrawlResource().place.rstrip("/")
    place = (row["warc_path"], row["warc_offset"], row["warc_length"], row["warc_inner_offset"])
    try:
        page = read_record(f"{root}/{row['warc_path']}", *place)
    except (RecordNotFound, OSError) as error:
        raise RecordAway(f"{error}. The crawl is looked for in {root}: STEMMA_CRAWL names another folder") from error
    try:
        source, charset = decode(page.body)
    except UndecodablePage as error:
        raise RecordAway(f"its {len(page.body):,} bytes are no readable text: {error}") from error
    return Reread(source.replace("\r\n", "\n"), charset, len(page.body), tuple(_differences(row, page)))


def _differences(row: Mapping[str, Any], page: Page) -> Iterator[str]:
    known = {"doc_id": page.doc_id, "payload_digest": page.payload_digest, "url": page.url, "host": host_of(page.url)}
    for name, now in known.items():
        if row[name] != now:
            yield f"{name} was {row[name]} and is {now}"


def origins(source: str, text: str, plain: bool = False) -> list[Span]:
    """Where the words of the text stand in the source, as spans of the source; the first MOST_SOURCE and
    MOST_TEXT characters of them.

    plain: the source is no HTML.
    """
    wanted = [word.casefold() for word in _PLAIN.findall(text, 0, MOST_TEXT)]
    run = min(RUN, len(wanted))
    if not run:
        return []
    grams = set(zip(*(wanted[k:] for k in range(run))))
    between = [(0, min(len(source), MOST_SOURCE))] if plain else list(outside_tags(source[:MOST_SOURCE]))
    places: list[tuple[int, int, int]] = []  # of each word: start and end in the source, which of `between` it is in
    words: list[str] = []
    for number, (start, end) in enumerate(between):
        for found in _WORD.finditer(source, start, end):
            said = found.group()
            for word in _PLAIN.findall(unescape(said)) if "&" in said else [said]:
                words.append(word.casefold())
                places.append((*found.span(), number))
    marked = bytearray(len(words))
    for k, gram in enumerate(zip(*(words[k:] for k in range(run)))):
        if gram in grams:
            marked[k : k + run] = b"\x01" * run
    spans: list[Span] = []
    previous = None
    for (start, end, number), mark in zip(places, marked, strict=True):
        if mark and previous == number:
            spans[-1] = replace(spans[-1], end=end)
        elif mark:
            spans.append(Span(start, end, NOTE, "added"))
        previous = number if mark else None
    return spans


def outside_tags(source: str) -> Iterator[tuple[int, int]]:
    """Where the text between tags, scripts, styles and comments lies in HTML, in order.

    One pass, in time that grows with the source however many tags are never closed: what is not closed goes to the end.
    """
    lowered, at = source.lower(), 0
    while at < len(source):
        tag = source.find("<", at)
        tag = len(source) if tag < 0 else tag
        if tag > at:
            yield at, tag
        closing = "-->" if source.startswith("<!--", tag) else ">"
        end = source.find(closing, tag)
        at = len(source) if end < 0 else end + len(closing)
        for name in _OPAQUE:
            if lowered.startswith(name, tag + 1) and not lowered[tag + 1 + len(name) : tag + 2 + len(name)].isalnum():
                end = lowered.find(f"</{name}", at)
                at = len(source) if end < 0 else end
