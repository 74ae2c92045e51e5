"""Reads a web archive file: every record becomes a Page, a Skipped or a typed Reject, and the reading always goes on.

A page is handed out only when nothing about it is in doubt: its gzip member was inflated to the end with its checksum
right, its Content-Length leads to the next record, its HTTP message parses, its body decodes, and the payload digest
that the crawler noted, if any, agrees. Memory is bounded by a few record sizes whatever the file claims.

Pages are HTML responses with status 200 (WARC) and plain-text conversions (WET). A page's place is
(warc_offset, warc_length, warc_inner_offset); `read_record` goes back from the place to the page.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from assets.steps.http_payload import BadPayload, decode_body, parse_response, sniff_html
from assets.steps.members import Damage, Member, member_at, members
from assets.steps.records import MAX_RECORD_BYTES, Broken, Raw, records

HEAD_BYTES = 1 << 19  # enough of a block for its HTTP headers and for telling HTML
HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
WARC_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?Z)?")
URN_UUID = re.compile(r"<?urn:uuid:([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})>?", re.IGNORECASE)
HASHES = {"sha1": hashlib.sha1, "md5": hashlib.md5, "sha256": hashlib.sha256, "sha512": hashlib.sha512}


class RecordNotFound(Exception):
    """No page can be read at that place; the message names file, offset and cause."""


@dataclass(frozen=True)
class Page:
    """A readable page. body: decoded (de-chunked, content encoding undone) bytes; payload_bytes: size as stored.

    payload_digest is "sha1:" and base32 of the sha1 of the HTTP body as stored in the record, before any decoding
    (Common Crawl's convention); of a conversion record, of its block. fetched_at is None where WARC-Date is unreadable.
    doc_id is the UUID of the WARC-Record-ID; an id of another form gives the uuid5 of that id, none that of the place.
    """

    doc_id: str
    url: str
    fetched_at: datetime | None
    warc_path: str
    warc_offset: int
    warc_length: int
    warc_inner_offset: int
    payload_digest: str
    payload_bytes: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # of the HTTP response, names in lower case


@dataclass(frozen=True)
class Skipped:
    """A readable record that is no page. reason: its WARC type, or status, mime, not_http, continuation."""

    warc_path: str
    warc_offset: int
    warc_length: int
    reason: str


@dataclass(frozen=True)
class Reject:
    """Bytes that cannot be read as a record, or a page that cannot be trusted: a typed reason and what was seen."""

    warc_path: str
    warc_offset: int
    warc_length: int
    reason: str
    detail: str


def read(
    path: str | os.PathLike, warc_path: str, *, size_bytes: int | None = None, storage_options: dict | None = None
) -> Iterator[Page | Skipped | Reject]:
    """Reads one file, local or any fsspec URL, in order.

    warc_path: the name it goes by in the tables, relative to the crawl root. size_bytes: what the manifest says; a
    shorter file is reported as truncated even when the cut lies between two records. Raises OSError if it cannot be
    opened or read.
    """
    seen: set[str] = set()
    with open_file(path, storage_options) as (file, file_size):
        for member in members(file, file_size):
            for item in _of_member(member, warc_path):
                if isinstance(item, Page):
                    if item.doc_id in seen:
                        item = _reject(item, "duplicate_record_id", f"{item.doc_id} names an earlier page of the file")
                    else:
                        seen.add(item.doc_id)
                if isinstance(item, Reject) and item.reason == "arc_not_supported":
                    yield Reject(warc_path, 0, file_size, item.reason, item.detail)
                    return
                yield item
        if size_bytes is not None and file_size < size_bytes:
            detail = f"the file has {file_size} bytes, its manifest says {size_bytes}"
            yield Reject(warc_path, file_size, size_bytes - file_size, "truncated", detail)


def read_record(
    path: str | os.PathLike,
    warc_path: str,
    warc_offset: int,
    warc_length: int,
    warc_inner_offset: int = 0,
    *,
    storage_options: dict | None = None,
) -> Page:
    """The page at a place that `read` gave; raises RecordNotFound if there is no such page any more."""
    with open_file(path, storage_options) as (file, file_size):
        member = member_at(file, warc_offset, warc_length, file_size)
        if member.view:
            for raw in records(member.view, start=warc_inner_offset):
                item = _of_record(raw, member, warc_path) if isinstance(raw, Raw) else None
                if isinstance(item, Page):
                    return item
                cause = item or raw
                break
            else:
                cause = "no record"
        else:
            cause = member.damage
    raise RecordNotFound(f"{warc_path} at {warc_offset}+{warc_inner_offset}: {cause}")


@contextmanager
def open_file(path: str | os.PathLike, storage_options: dict | None = None) -> Iterator[tuple[BinaryIO, int]]:
    """A file to read at random, with its size in bytes; local paths do without fsspec."""
    name = os.fspath(path)
    if "://" not in name:
        with open(name, "rb") as file:
            yield file, os.fstat(file.fileno()).st_size
    else:
        from fsspec.core import url_to_fs

        filesystem, inner = url_to_fs(name, **(storage_options or {}))
        with filesystem.open(inner, "rb") as opened:
            remote: Any = opened
            yield remote, int(filesystem.size(inner))


def _of_member(member: Member, warc_path: str) -> Iterator[Page | Skipped | Reject]:
    """What a member's records are. Of a truncated member only records that are followed by another one and whose
    payload digest agrees are used: nothing else vouches for their bytes."""
    whole = Reject(warc_path, member.offset, member.length, *_typed(member.damage or Damage("", "")))
    if not member.view:
        yield whole
        return
    found_damage = False
    for raw in records(member.view, at_file_start=member.offset == 0):
        place = _span(raw, member)
        if isinstance(raw, Broken):
            found_damage = True
            yield Reject(warc_path, *place, *_typed(member.damage or raw.damage))
            continue
        if not member.damage:
            yield _of_record(raw, member, warc_path)
        elif member.view.read(raw.end, 16).lstrip(b"\r\n"):
            yield _of_record(raw, member, warc_path, must_verify=True)
        else:
            found_damage = True
            yield Reject(warc_path, *place, *_typed(member.damage))
    if member.damage and not found_damage:
        yield whole


def _typed(damage: Damage) -> tuple[str, str]:
    return damage.reason, damage.detail


def _span(raw: Raw | Broken, member: Member) -> tuple[int, int]:
    """(warc_offset, warc_length): the member's, or in a plain file the record's own."""
    if member.compressed:
        return member.offset, member.length
    return member.offset + raw.inner, raw.end - raw.inner


def _reject(page: Page, reason: str, detail: str) -> Reject:
    return Reject(page.warc_path, page.warc_offset, page.warc_length, reason, detail)


def _of_record(raw: Raw, member: Member, warc_path: str, *, must_verify: bool = False) -> Page | Skipped | Reject:
    """Page, Skipped or Reject for one complete record."""
    assert member.view
    place = (warc_path, *_span(raw, member))
    if raw.type not in ("response", "conversion"):
        return Skipped(*place, raw.type)
    if "warc-segment-number" in raw.headers:
        return Reject(*place, "segmented_record", "the payload goes on in another record")
    url = raw.headers.get("warc-target-uri", "").strip().strip("<>").strip()
    if url.lower().startswith(("dns:", "whois:", "ftp:", "about:", "data:", "urn:", "metadata:", "filedesc:")):
        return Skipped(*place, "not_http")
    if not url or not url.isprintable():
        return Reject(*place, "bad_target_uri", repr(url[:100]))
    declared = raw.headers.get("warc-identified-payload-type")
    head = member.view.read(raw.block_start, min(raw.block_length, HEAD_BYTES))
    try:
        if raw.type == "conversion":
            mime = _mime(declared or raw.headers.get("content-type", "text/plain"))
            if mime != "text/plain":
                return Skipped(*place, "mime")
            http_headers, body_start = {}, 0
        else:
            response = parse_response(head)
            if response.status != 200:
                return Skipped(*place, "status")
            mime = _mime(declared or response.headers.get("content-type", ""))
            if mime and mime not in HTML_TYPES:
                return Skipped(*place, "mime")
            http_headers, body_start = response.headers, response.body_start
        if raw.block_length > MAX_RECORD_BYTES:
            return Reject(*place, "too_large", f"a page of {raw.block_length} bytes")
        block = head if raw.block_length <= len(head) else member.view.read(raw.block_start, raw.block_length)
        stored = block[body_start:]
        joined, decoded = decode_body(http_headers, stored, may_end_early="warc-truncated" in raw.headers)
    except BadPayload as error:
        return Reject(*place, error.reason, error.detail)
    if not mime:
        if not sniff_html(decoded):
            return Skipped(*place, "mime")
        mime = "text/html"
    noted = raw.headers.get("warc-payload-digest", "")
    agrees = _digest_agrees(noted, (stored, joined, decoded))
    if agrees is False:
        return Reject(*place, "digest_mismatch", f"the record notes {noted[:100]}, its payload has {_sha1(stored)}")
    if must_verify and not (agrees or _digest_agrees(raw.headers.get("warc-block-digest", ""), (block,))):
        return Reject(*place, "truncated", "in a truncated member, and no digest vouches for it")
    inner_offset = raw.inner if member.compressed else 0
    return Page(
        doc_id=_doc_id(raw.headers.get("warc-record-id", ""), f"{warc_path}#{place[1]}#{inner_offset}"),
        url=url,
        fetched_at=_date(raw.headers.get("warc-date", "")),
        warc_path=warc_path,
        warc_offset=place[1],
        warc_length=place[2],
        warc_inner_offset=inner_offset,
        payload_digest=_sha1(stored),
        payload_bytes=len(stored),
        content_type=mime,
        body=decoded,
        headers=http_headers,
    )


def _mime(value: str) -> str:
    """Media type without parameters, lower case."""
    return value.partition(";")[0].strip().lower()


def _sha1(payload: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(payload, usedforsecurity=False).digest()).decode()


def _digest_agrees(noted: str, payloads: tuple[bytes, ...]) -> bool | None:
    """Whether a noted digest is that of one of the payloads; None where none is noted or its kind is unknown.

    Crawlers differ in which form they hash: as received (Heritrix, wget), or with the transfer encoding undone
    (warcio), or all of it (Nutch at Common Crawl). They write base32, hex or base64.
    """
    algorithm, _, value = noted.partition(":")
    new_hash = HASHES.get(algorithm.strip().lower().replace("-", ""))
    if not new_hash or not value:
        return None
    expected = _digest_bytes(value.strip(), new_hash().digest_size)
    return any(new_hash(payload).digest() == expected for payload in dict.fromkeys(payloads))


def _digest_bytes(value: str, size: int) -> bytes | None:
    """A digest written in hex, base32 or base64, told apart by its length; None if it is none of them."""
    try:
        if len(value) == 2 * size:
            return bytes.fromhex(value)
        if len(value.rstrip("=")) == -(-size * 8 // 5):
            return base64.b32decode(value.upper().rstrip("=") + "=" * (-len(value.rstrip("=")) % 8))
        return base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        return None


def _doc_id(record_id: str, place: str) -> str:
    """The document's identity: see Page."""
    if match := URN_UUID.fullmatch(record_id.strip()):
        return match[1].lower()
    return str(uuid.uuid5(uuid.NAMESPACE_URL, record_id.strip() or place))


def _date(value: str) -> datetime | None:
    """A WARC-Date (W3C profile of ISO 8601, with or without fraction) as UTC; None if it is not one."""
    match = WARC_DATE.fullmatch(value.strip())
    if not match:
        return None
    year, month, day, hour, minute, second, fraction = match.groups(default="0")
    try:
        whole = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError:
        return None
    return whole + timedelta(microseconds=int(fraction.ljust(6, "0")[:6]))
