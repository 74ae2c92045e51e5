"""Scopes of takedowns: a URL, prefix, host, document or text, checked, and told from other pages by a row or a query.

A scope says the same of a page wherever it is asked: `Refusal` looks at one page while it is read, `selecting` at a
table. Addresses are compared without scheme, fragment, default port and the case of the host; a host covers its
subdomains. A text covers equal texts, and those whose MinHash signature agrees with its own in as many values as makes
near-duplicates; the text itself is not kept.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import polars as pl
from xxhash import xxh3_128_hexdigest

KINDS = ("url", "prefix", "host", "document", "text")
MOST_CHARACTERS = 4096  # of an address; the longest of a public crawl have about 2,000
SCHEME, FRAGMENT, AUTHORITY, PORT = r"^[A-Za-z][A-Za-z0-9+.\-]*://", r"(?s)#.*$", r"^[^/?]*", r":(80|443)?$"


class BadScope(ValueError):
    """What is to be taken down is not said in a way that can be looked for."""


@dataclass(frozen=True)
class Scope:
    """What a takedown is about.

    `value`: the address key of a url or prefix, a host, a doc_id, or the xxh3-128 of a text without the white space
    around it. Of a text also `hashes`, content_hash of the spellings that count as equal, and `signature`: its 112
    MinHash values in hex, "" where it has fewer than five words.
    """

    kind: str
    value: str
    hashes: tuple[str, ...] = ()
    signature: str = ""

    def to_json(self) -> dict[str, Any]:
        text = {"hashes": list(self.hashes), "signature": self.signature} if self.kind == "text" else {}
        return {"kind": self.kind, "value": self.value, **text}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scope:
        return cls(value["kind"], value["value"], tuple(value.get("hashes", ())), value.get("signature", ""))

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


def scope(kind: str, value: str) -> Scope:
    """The scope that a person names, checked; for "text", `value` is the text. Raises BadScope."""
    made = {"url": _url, "prefix": _url, "host": _host, "document": _document, "text": _text}
    if kind not in made:
        raise BadScope(f"no kind of scope is called {kind!r}: there are {', '.join(KINDS)}")
    found = made[kind](value)
    return found if isinstance(found, Scope) else Scope(kind, found)


def address_key(url: str) -> str:
    """What is compared of an address: host in lower case and path, without scheme, fragment and default port."""
    bare = re.sub(FRAGMENT, "", re.sub(SCHEME, "", url))
    authority = re.match(AUTHORITY, bare)
    host = authority.group() if authority else ""
    path = bare[len(host) :]
    return re.sub(PORT, "", host.lower()) + (path if path.startswith("/") else f"/{path}")


def address_keys(url: pl.Expr) -> pl.Expr:
    """`address_key` of a column."""
    bare = url.str.replace(SCHEME, "").str.replace(FRAGMENT, "")
    host = bare.str.extract(f"({AUTHORITY})", 1).str.to_lowercase().str.replace(PORT, "")
    path = bare.str.replace(AUTHORITY, "")
    return host + pl.when(path.str.starts_with("/")).then(path).otherwise(pl.lit("/") + path)


def selecting(wanted: Scope) -> pl.Expr:
    """Whether a row with doc_id, url, host and content_hash is in the scope; of a text, equal ones alone."""
    if wanted.kind == "document":
        return pl.col("doc_id") == wanted.value
    if wanted.kind == "text":
        return pl.col("content_hash").is_in(list(wanted.hashes))
    if wanted.kind == "host":
        return (pl.col("host") == wanted.value) | pl.col("host").str.ends_with(f".{wanted.value}")
    there, key = pl.col("host") == _host_of(wanted.value), address_keys(pl.col("url"))
    return there & (key == wanted.value if wanted.kind == "url" else key.str.starts_with(wanted.value))


def near(wanted: Scope, signatures: np.ndarray) -> np.ndarray:
    """(n,) bool: which of (n, 112) uint64 signatures agree with the text's in THRESHOLD of their values."""
    from kernels.text.verify import THRESHOLD

    if not wanted.signature:
        return np.zeros(len(signatures), bool)
    ours = np.frombuffer(bytes.fromhex(wanted.signature), "<u8")
    return (signatures == ours).sum(axis=1) >= THRESHOLD * len(ours)


class Refusal:
    """Which takedown, if any, refuses a page; one look into a few dictionaries, however many takedowns there are."""

    def __init__(self, takedowns: Iterable[tuple[int, Scope]]) -> None:
        self.exact: dict[tuple[str, str], int] = {}
        self.prefixes: dict[str, list[tuple[str, int]]] = {}  # by host
        self.texts: list[tuple[int, Scope]] = []
        for number, one in takedowns:
            if one.kind == "prefix":
                self.prefixes.setdefault(_host_of(one.value), []).append((one.value, number))
            elif one.kind == "text":
                self.texts.append((number, one))
                for spelling in one.hashes:
                    self.exact.setdefault(("text", spelling), number)
            else:
                self.exact.setdefault((one.kind, one.value), number)

    def __bool__(self) -> bool:
        return bool(self.exact or self.prefixes or self.texts)

    def of_page(self, doc_id: str, url: str, host: str) -> int | None:
        """The takedown that covers the page, whatever its text is."""
        if (number := self.exact.get(("document", doc_id))) is not None:
            return number
        key = address_key(url)
        if (number := self.exact.get(("url", key))) is not None:
            return number
        for prefix, number in self.prefixes.get(host, ()):
            if key.startswith(prefix):
                return number
        labels = host.split(".")
        names = (".".join(labels[first:]) for first in range(len(labels)))
        return next((self.exact["host", name] for name in names if ("host", name) in self.exact), None)

    def of_text(self, text: str) -> int | None:
        """The takedown that covers the text."""
        if not self.texts:
            return None
        if (number := self.exact.get(("text", xxh3_128_hexdigest(text.encode())))) is not None:
            return number
        signature = _signature(text)
        if signature is None:
            return None
        return next((number for number, one in self.texts if near(one, signature[None])[0]), None)


def _url(value: str) -> str:
    bare = value.strip()
    if not bare or len(bare) > MOST_CHARACTERS or re.search(r"\s", bare):
        raise BadScope(f"an address has 1 to {MOST_CHARACTERS} characters and no white space: {value[:80]!r}")
    key = address_key(bare)
    if not _host_of(key):
        raise BadScope(f"{bare[:80]!r} names no host: give the whole address, as https://example.org/page")
    return key


def _host(value: str) -> str:
    name = value.strip().lower().rstrip(".")
    if not re.fullmatch(r"[^\s/?#@:]{1,253}", name):
        raise BadScope(f"{value[:80]!r} is no host name: give it alone, as example.org")
    if name != "localhost" and not re.fullmatch(r"[0-9.]+", name) and not _registered(name):
        raise BadScope(f"{name} is a public suffix, under which everybody has names: name a host under it")
    return name


def _document(value: str) -> str:
    bare = value.strip().strip("<>").removeprefix("urn:uuid:")
    try:
        return str(uuid.UUID(bare))
    except ValueError as error:
        raise BadScope(f"{value[:80]!r} is no doc_id: they are UUIDs, as `stemma trace` and the tables show") from error


def _text(value: str) -> Scope:
    bare = value.strip()
    if not bare:
        raise BadScope("the text to take down is empty")
    hashes = tuple(dict.fromkeys(xxh3_128_hexdigest(one.encode()) for one in (bare, value, f"{bare}\n")))
    signature = _signature(bare)
    return Scope("text", hashes[0], hashes, "" if signature is None else signature.astype("<u8").tobytes().hex())


def _signature(text: str) -> np.ndarray | None:
    """(112,) uint64 of the text after C4's line rules, as kept documents are signed; None below five words."""
    from assets.steps.signatures import cleaned_shingles
    from kernels.text import minhash

    hashes = cleaned_shingles(text)
    return np.asarray(minhash.fold(hashes), np.uint64) if hashes.size else None


def _registered(name: str) -> bool:
    return bool(_known_suffixes()(name).domain)


@cache
def _known_suffixes() -> Callable[[str], Any]:
    """The public suffix list that comes with tldextract, read once: .2 s."""
    import tldextract

    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)


def _host_of(key: str) -> str:
    try:
        return urlsplit(f"//{key}").hostname or ""
    except ValueError:
        return ""
