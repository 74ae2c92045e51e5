"""A crawl whose every page attacks whoever shows it: hostile strings as text, title, URL and header, and odd bytes.

Around them stands enough of a real page for it to be extracted, measured, deduplicated and, mostly, kept.
"""

import html
import re
import uuid
from pathlib import Path

from tests.assets.takedown_crawl import real_texts

SNAPSHOT = "hostile"
STRINGS_A_PAGE = 24
HOST = "hostile.example"


def write(root: Path, bundled_crawl: Path, strings: list[str]) -> list[str]:
    """One WARC file of such pages; returns the doc_ids."""
    texts = [text for _, text in sorted(real_texts(bundled_crawl).items())]
    groups = [strings[i : i + STRINGS_A_PAGE] for i in range(0, len(strings), STRINGS_A_PAGE)]
    ids = []
    (root / SNAPSHOT).mkdir(parents=True)
    with (root / SNAPSHOT / "hostile.warc").open("wb") as file:
        for number, group in enumerate(groups):
            doc_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"hostile {number}"))
            body = page(texts[number % len(texts)], group, number)
            file.write(record(doc_id, url(group[0], number), body, number))
            ids.append(doc_id)
        for number, body in enumerate(odd_bodies(texts[0]), len(groups)):
            doc_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"hostile {number}"))
            file.write(record(doc_id, url("odd", number), body, number))
            ids.append(doc_id)
    return ids


def page(text: str, strings: list[str], number: int) -> bytes:
    """A page that says the strings: as its title raw, and in its text as what a reader would see."""
    said = "".join(f"<p>Reader {number} wrote this about the article: {html.escape(one)} and nobody answered.</p>"
                   for one in strings)  # fmt: skip
    own = "".join(f"<p>{html.escape(line)}, says {number}.</p>" for line in text.split("\n") if line)
    head = f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{strings[0]}</title></head>"
    return f"{head}<body><article><h1>{html.escape(strings[-1])}</h1>{own}{said}</article></body></html>".encode(
        "utf-8", "surrogatepass"
    )


def odd_bodies(text: str) -> list[bytes]:
    """Broken Unicode, a line of 10 MB, overrides of direction, thousands of elements."""
    own = "".join(f"<p>{html.escape(line)}</p>" for line in text.split("\n") if line).encode()
    frame = b"<html><head><meta charset=utf-8><title>odd</title></head><body><article>%b%b</article></body></html>"
    return [
        frame % (own, b"<p>broken \xff\xfe\xc3\x28 \xed\xa0\x80 unicode in a sentence of some length here</p>"),
        frame % (own, b"<p>" + b"x" * 10_000_000 + b"</p>"),
        frame % (own, "<p>turned \u202e\u2066\u2067 around \u2069 and a zero\u200bwidth \ufeff space</p>".encode()),
        frame % (own, b"<b>" * 3000 + b"deep" + b"</b>" * 3000),
        frame % (own, b"<p>nul \x00 bell \x07 escape \x1b[31m red</p>"),
    ]


def url(string: str, number: int) -> str:
    """An address that carries the string as it is, but for what a WARC header cannot hold."""
    return f"https://{HOST}/{number}?q=" + re.sub(r"[\x00-\x20\x7f\u2028\u2029\ud800-\udfff]", "+", string)


def record(doc_id: str, address: str, body: bytes, number: int) -> bytes:
    """The page as a response record, plain."""
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nX-Hostile: <script>hit=1</script>\r\n\r\n"
    http += body
    head = (
        "WARC/1.0\r\nWARC-Type: response\r\n"
        f"WARC-Target-URI: {address}\r\nWARC-Date: 2024-05-01T00:{number // 60:02d}:{number % 60:02d}Z\r\n"
        f"WARC-Record-ID: <urn:uuid:{doc_id}>\r\nContent-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(http)}\r\n\r\n"
    )
    return head.encode() + http + b"\r\n\r\n"
