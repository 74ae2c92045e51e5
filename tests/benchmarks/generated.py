"""Crawls of any size, made from real pages: `python -m tests.benchmarks.generated ROOT SNAPSHOT --documents N`.

Document number i is a function of the seed and i alone, so a crawl of 10^4 is the beginning of one of 10^5, and what
each document is (alone, an exact copy, a near-duplicate of which other) is known without reading anything. An original
is the chrome of a real page around paragraphs of other real pages of its language, of which every fifth word is another
word of that language and some are dropped; so no two originals share a run of five words but in the chrome. Families
have Zipf-like sizes and lie across files and snapshots, hosts follow Zipf's law.

The pages are those of tests/data/crawl and, where it is there, of the shared data (licences: tests/data/README.md and
its SOURCES.md). What is made from them is for measuring, stays on this machine and is not published.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html
import random
import re
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from tests.benchmarks.parity import default_pages
from tests.benchmarks.timing import CRAWL

Form = Literal["warc", "wet"]
Kind = Literal["original", "copy", "near", "absent", "wrong_digest", "torn"]
FILE_DOCUMENTS = {"warc": 5_000, "wet": 20_000}  # files of some 30 MB; those of Common Crawl hold 40,000 pages, 1 GB
COPIES, NEAR = 0.02, 0.10  # shares of exact copies and of near-duplicates
ABSENT, WRONG_DIGEST, TORN = 0.03, 0.002, 0.002  # answers with status 404; pages with another digest; cut members
HOSTS = 50_000
SECONDS_APART = 10  # 10^5 documents in twelve days
SWAPPED, DROPPED = 5, 23  # every so-manieth word
LARGEST_TEMPLATE, MOST_SLOTS = 40_000, 12  # bytes of a page's HTML, paragraphs of it that are replaced
PARAGRAPH = re.compile(r"<p(?:\s[^<>]*)?>([^<>]{60,2000})</p>")
UNSPACED = ("cmn_Hani", "jpn_Jpan")
FIRST_DAY = datetime(2024, 5, 17, tzinfo=UTC)


@dataclass(frozen=True)
class Template:
    """A real page: `static` is what stands around its replaced paragraphs, as bytes and deflated on their own."""

    language: str
    static: list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Sources:
    """Real pages taken apart. paragraphs: units (words, or characters) of each by language; words: all of them."""

    templates: list[Template]
    paragraphs: dict[str, list[list[str]]]
    words: dict[str, list[str]]


@dataclass(frozen=True)
class Plan:
    """What document `number` is: its kind, and the original that it was made from (itself, of an original)."""

    number: int
    kind: Kind
    origin: int


class Crawl:
    """The documents of a seed, in the form of WARC responses with HTML, or of short WET conversions."""

    def __init__(self, form: Form = "warc", seed: int = 0) -> None:
        self.form, self.seed = form, seed

    @cached_property
    def sources(self) -> Sources:
        return sources()

    def plan(self, number: int) -> Plan:
        """The kind and origin of a document."""
        chance = self._random("plan", number)
        drawn = chance.random()
        responses: list[tuple[Kind, float]] = [("absent", ABSENT), ("wrong_digest", WRONG_DIGEST)]
        spoilt: list[tuple[Kind, float]] = [("torn", TORN), *(responses if self.form == "warc" else [])]
        for kind, share in spoilt:
            if drawn < share:
                return Plan(number, kind, number)
            drawn -= share
        if drawn >= COPIES + NEAR or number == 0:
            return Plan(number, "original", number)
        return Plan(number, "copy" if drawn < COPIES else "near", self.plan(chance.randrange(number)).origin)

    def doc_id(self, number: int) -> str:
        """The UUID of the document's WARC-Record-ID."""
        return str(uuid.UUID(bytes=hashlib.blake2b(f"{self.seed}/{number}".encode(), digest_size=16).digest()))

    def write(self, root: Path, snapshot: str, first: int, count: int) -> int:
        """The documents first, …, first + count - 1 as files ROOT/SNAPSHOT/…gz; returns their bytes in all."""
        folder, size = root / snapshot, 0
        folder.mkdir(parents=True, exist_ok=True)
        each, end = FILE_DOCUMENTS[self.form], ".warc.gz" if self.form == "warc" else ".warc.wet.gz"
        for start in range(first, first + count, each):
            path = folder / f"made-{start:08d}{end}"
            with path.open("wb") as file:
                for number in range(start, min(start + each, first + count)):
                    size += file.write(self.member(number))
        return size

    def member(self, number: int) -> bytes:
        """The document's record as one gzip member; of a torn one the first half."""
        plan = self.plan(number)
        pieces = [(b"Not found.", deflated(b"Not found."))] if plan.kind == "absent" else self._body(plan)
        body = b"".join(plain for plain, _ in pieces)
        http = self._http(404 if plan.kind == "absent" else 200) if self.form == "warc" else b""
        digest = base64.b32encode(hashlib.sha1(b"?" if plan.kind == "wrong_digest" else body).digest()).decode()
        seconds = SECONDS_APART * number + self._random("date", number).randrange(3600)
        at = FIRST_DAY + timedelta(seconds=seconds)  # later snapshots were fetched later
        lines = [
            "WARC/1.0",
            f"WARC-Type: {'response' if self.form == 'warc' else 'conversion'}",
            f"WARC-Record-ID: <urn:uuid:{self.doc_id(number)}>",
            f"WARC-Date: {at:%Y-%m-%dT%H:%M:%SZ}",
            f"WARC-Target-URI: {self.url(number)}",
            f"WARC-{'Payload' if self.form == 'warc' else 'Block'}-Digest: sha1:{digest}",
            f"Content-Type: {'application/http; msgtype=response' if self.form == 'warc' else 'text/plain'}",
            f"Content-Length: {len(http) + len(body)}",
        ]
        head, tail = "\r\n".join([*lines, "", ""]).encode() + http, b"\r\n\r\n"
        made = gzip_member([(head, deflated(head)), *pieces, (tail, deflated(tail))])
        return made[: len(made) // 2] if plan.kind == "torn" else made

    def url(self, number: int) -> str:
        """The document's address; the k-th host has a share of about 1/k."""
        rank = int(HOSTS ** self._random("host", number).random())
        return f"https://www.site{rank:05d}.example/{number // 1000}/{number}.html"

    def text(self, number: int) -> tuple[str, str]:
        """(text, language) of a document: its paragraphs, without what stands around them."""
        language, _, joined = self._paragraphs(self.plan(number))
        return "\n".join(joined), language

    def _paragraphs(self, plan: Plan) -> tuple[str, list[tuple[bytes, bytes]], list[str]]:
        language, static, paragraphs = self._original(plan.origin)
        if plan.kind == "near":
            paragraphs = edited(paragraphs, self.sources.words[language], self._random("near", plan.number))
        return language, static, ["".join(one) if language in UNSPACED else " ".join(one) for one in paragraphs]

    def _body(self, plan: Plan) -> list[tuple[bytes, bytes]]:
        _, static, joined = self._paragraphs(plan)
        if self.form == "wet":
            text = "\n".join(joined).encode()
            return [(text, deflated(text))]
        encoded = [html.escape(one, quote=False).encode() for one in joined]
        made = [(one, deflated(one)) for one in encoded]
        return [piece for pair in zip(static, made) for piece in pair] + [static[-1]]

    def _original(self, number: int) -> tuple[str, list[tuple[bytes, bytes]], list[list[str]]]:
        """(language, what stands around, paragraphs as units) of an original."""
        chance, known = self._random("text", number), self.sources
        template = known.templates[chance.randrange(len(known.templates))]
        pool, words = known.paragraphs[template.language], known.words[template.language]
        slots = len(template.static) - 1 if self.form == "warc" else 2 + chance.randrange(3)
        paragraphs = []
        for _ in range(slots):
            units = list(pool[int(chance.random() * len(pool))])
            phase, at = int(chance.random() * SWAPPED), int(chance.random() * (len(words) - 500))
            places = len(range(phase, len(units), SWAPPED))
            units[phase::SWAPPED] = words[at : at + places]
            del units[int(chance.random() * DROPPED) :: DROPPED]
            paragraphs.append(units)
        return template.language, template.static, paragraphs

    def _random(self, what: str, number: int) -> random.Random:
        return random.Random(zlib.crc32(what.encode()) << 80 | self.seed << 40 | number)

    @staticmethod
    def _http(status: int) -> bytes:
        reason = "OK" if status == 200 else "Not Found"
        return f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n".encode()


def edited(paragraphs: list[list[str]], words: list[str], chance: random.Random) -> list[list[str]]:
    """The paragraphs of a near-duplicate: .2% to 2% of the units are others, and one in four has paragraphs moved."""
    made, units = [list(one) for one in paragraphs], sum(map(len, paragraphs))
    for _ in range(max(1, int(units * chance.uniform(0.002, 0.02)))):
        one = made[int(chance.random() * len(made))]
        if one:
            one[int(chance.random() * len(one))] = words[int(chance.random() * len(words))]
    if chance.random() < 0.25:
        chance.shuffle(made)
    return made


@cache
def sources() -> Sources:
    """All real pages that are UTF-8, not too large and have three plain paragraphs or more, taken apart."""
    from assets.steps.warc import Page, read
    from kernels.text import language

    pages: list[tuple[str, list[str], list[bytes]]] = []
    for path in [*sorted(CRAWL.rglob("*.warc.gz")), *(path for path in default_pages() if CRAWL not in path.parents)]:
        for item in read(path, path.name):
            if isinstance(item, Page) and len(item.body) <= LARGEST_TEMPLATE:
                page = item.body.decode(errors="replace")
                found = list(PARAGRAPH.finditer(page))[:MOST_SLOTS]
                if len(found) >= 3 and "\ufffd" not in page:
                    texts = [" ".join(html.unescape(one[1]).split()) for one in found]
                    borders = [0, *(place for one in found for place in one.span(1)), len(page)]
                    static = [page[a:b].encode() for a, b in zip(borders[::2], borders[1::2])]
                    pages.append((language.identify(" ".join(texts))[0], texts, static))
    paragraphs: dict[str, list[list[str]]] = {}
    for tag, texts, _ in pages:
        units = [list(text) if tag in UNSPACED else text.split() for text in texts]
        paragraphs.setdefault(tag, []).extend(one for one in units if len(one) >= 10)
    words = {tag: [unit for one in found for unit in one] for tag, found in paragraphs.items()}
    usable = {tag for tag, found in words.items() if len(found) > 5_000}
    for tag in usable:
        random.Random(tag).shuffle(words[tag])
    templates = [Template(tag, [(b, deflated(b)) for b in static]) for tag, _, static in pages if tag in usable]
    return Sources(templates, paragraphs, words)


def deflated(plain: bytes) -> bytes:
    """Raw deflate blocks that end at a byte and refer to nothing before them, so they can stand anywhere."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return packer.compress(plain) + packer.flush(zlib.Z_FULL_FLUSH)


def gzip_member(pieces: list[tuple[bytes, bytes]]) -> bytes:
    """A gzip member of pieces (plain, deflated)."""
    check = size = 0
    for plain, _ in pieces:
        check, size = zlib.crc32(plain, check), size + len(plain)
    body = b"".join(packed for _, packed in pieces)
    end = check.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + body + b"\x03\x00" + end


def families(crawl: Crawl, numbers: range) -> Iterator[tuple[str, str, str]]:
    """(doc_id, kind, doc_id of the original) of the documents that are pages: the truth about duplicates."""
    for number in numbers:
        plan = crawl.plan(number)
        if plan.kind in ("original", "copy", "near"):
            yield crawl.doc_id(number), plan.kind, crawl.doc_id(plan.origin)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.generated", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("snapshot")
    parser.add_argument("--documents", type=int, required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first document")
    parser.add_argument("--form", choices=["warc", "wet"], default="warc")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    size = Crawl(chosen.form, chosen.seed).write(chosen.root, chosen.snapshot, chosen.first, chosen.documents)
    print(f"{chosen.documents:,} documents, {size:,} bytes in {chosen.root / chosen.snapshot}")


if __name__ == "__main__":
    main()
