"""Walks the WARC records in a view of inflated bytes: where each begins, what its header says, where its block lies.

A record that cannot be delimited (bad header, a Content-Length that leads nowhere) is reported with its span, and the
walk goes on at the next line that begins a record. ISO 28500:2017, sections 4 and 5; bare line feeds are accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from assets.steps.members import Damage, View

MAX_HEADER_BYTES = 1 << 16
MAX_RECORD_BYTES = 32 << 20  # a page's block; other records may be of any length, their blocks are not read
SCAN_BYTES = 1 << 20  # most bytes looked through at once for the next record
HEADER_END = re.compile(rb"\r?\n\r?\n")
VERSION = re.compile(rb"(?i)WARC/\d+\.\d+(?:\.\d+)?[ \t]*\r?\n")
RECORD_START = re.compile(rb"(?i)(?:^|(?<=\n))WARC/\d+\.\d+[^\r\n]{0,8}\r?\n[A-Za-z-]+:")
ARC_START = b"filedesc://"
KNOWN_TYPES = frozenset(
    {"warcinfo", "response", "resource", "request", "metadata", "revisit", "conversion", "continuation"}
)


@dataclass(frozen=True)
class Raw:
    """A delimited record: where it starts and where its block lies in the view (bytes), its type, its headers by
    lower-case name."""

    inner: int
    block_start: int
    block_length: int
    type: str
    headers: dict[str, str]

    @property
    def end(self) -> int:
        """One past the last byte of the block."""
        return self.block_start + self.block_length


@dataclass(frozen=True)
class Broken:
    """Bytes of the view, from inner to end, that are no readable record."""

    inner: int
    end: int
    damage: Damage


class BadHeader(Exception):
    """A header that delimits no record. reason: header_too_large, truncated, bad_version, bad_header, missing_field or
    bad_content_length; resume: where in the view to look for the next record, past what was read, so that a hostile
    file costs no more than a few passes."""

    def __init__(self, reason: str, detail: str, resume: int = 0) -> None:
        super().__init__(f"{reason}: {detail}")
        self.damage, self.resume = Damage(reason, detail), resume


def records(view: View, *, start: int = 0, at_file_start: bool = False) -> Iterator[Raw | Broken]:
    """Every record from `start` on, in order; spans of Broken pieces fill the gaps between them.

    at_file_start: the view opens the file, so that a file of another kind is named: "not_warc" or "arc_not_supported".
    """
    position = _skip_newlines(view, start)
    if at_file_start and position == view.size:
        yield Broken(0, view.size, Damage("not_warc", "nothing but line ends"))
    while position < view.size:
        head = view.read(position, 16)
        if head[:5].upper() != b"WARC/":
            arc = position == start and head.startswith(ARC_START)
            end = view.size if arc else _next_record(view, position + 1)
            if arc:
                damage = Damage("arc_not_supported", "an ARC file, the format before WARC")
            elif at_file_start and position == _skip_newlines(view, start) and end == view.size:
                damage = Damage("not_warc", f"begins with {head!r} and holds no record")
            else:
                damage = Damage("junk", f"{end - position} bytes between records: {head!r}")
            yield Broken(position, end, damage)
            position = end
            continue
        try:
            raw = _record(view, position)
        except BadHeader as error:
            end = _next_record(view, max(error.resume, position + 1))
            yield Broken(position, end, error.damage)
            position = end
            continue
        following = _skip_newlines(view, raw.end) if raw.end <= view.size else view.size
        if raw.end > view.size or (following < view.size and view.read(following, 5).upper() != b"WARC/"):
            end = _next_record(view, raw.block_start)
            yield Broken(position, end, _wrong_length(view, raw, end))
            position = end
            continue
        yield raw
        position = following


def _wrong_length(view: View, raw: Raw, next_record: int) -> Damage:
    missing = raw.end - view.size
    if missing > 0 and next_record == view.size:
        return Damage("truncated", f"{missing} of the record's {raw.block_length} bytes are missing")
    claim = f"Content-Length {raw.block_length} leads to no record"
    return Damage("bad_content_length", f"{claim}; {next_record - raw.block_start} bytes up to the next one")


def _skip_newlines(view: View, position: int) -> int:
    while position < view.size:
        chunk = view.read(position, 256)
        rest = chunk.lstrip(b"\r\n")
        position += len(chunk) - len(rest)
        if rest:
            break
    return position


def _next_record(view: View, after: int) -> int:
    """Start of the next line that begins a record, at or after `after`; the view's size if there is none."""
    position, size = max(0, after - 1), 4096
    while position < view.size:
        chunk = view.read(position, size)
        for match in RECORD_START.finditer(chunk):
            if position + match.start() >= after and (match.start() or not position):
                return position + match.start()
        position += max(1, len(chunk) - 64)
        size = min(2 * size, SCAN_BYTES)
    return view.size


def _record(view: View, position: int) -> Raw:
    """The record whose header begins at `position`; raises BadHeader."""
    size = 2048
    while True:
        head = view.read(position, size)
        if end := HEADER_END.search(head):
            break
        if len(head) < size or size >= MAX_HEADER_BYTES:  # no well separated record begins in these bytes either
            past = position + len(head)
            if not VERSION.match(head):
                raise BadHeader("bad_version", repr(head[:40]), past)
            if len(head) < size:
                raise BadHeader("truncated", "the record header does not end", past)
            raise BadHeader("header_too_large", f"no end of the record header in {size} bytes", past)
        size *= 2
    version = VERSION.match(head)
    if torn := RECORD_START.search(head, 1, end.start() + 1):
        raise BadHeader("bad_header", "another record begins inside the header", position + torn.start())
    block_start = position + end.end()
    if not version:
        raise BadHeader("bad_version", repr(head[:40]), block_start)
    try:
        return _of_header(head[version.end() : max(version.end(), end.start())], position, block_start)
    except BadHeader as error:
        error.resume = block_start
        raise


def _of_header(lines: bytes, position: int, block_start: int) -> Raw:
    """The record with these header lines; raises BadHeader."""
    if b"\0" in lines:
        raise BadHeader("bad_header", "NUL bytes in the record header")
    headers = _headers(lines)
    kind, length = headers.get("warc-type", "").lower(), headers.get("content-length")
    if not kind or length is None:
        missing = "Content-Length" if kind else "WARC-Type"
        raise BadHeader("missing_field", f"the record header has no {missing}")
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise BadHeader("bad_content_length", repr(length[:40]))
    kind = kind if kind in KNOWN_TYPES else "unknown_type"
    return Raw(position, block_start, int(length), kind, headers)


def _headers(lines: bytes) -> dict[str, str]:
    """Named fields with lower-case names; folded lines are joined; of a repeated name the first one counts.

    Content-Length may be repeated only with the same value: with two lengths the end of the record is in doubt.
    """
    unfolded = re.sub(rb"\r?\n[ \t]+", b" ", lines)
    headers: dict[str, str] = {}
    for line in unfolded.split(b"\n"):
        name, colon, value = line.partition(b":")
        if not colon:
            continue
        key, text = name.strip().decode("latin-1").lower(), value.strip().decode("utf-8", "replace")
        if key == "content-length" and headers.setdefault(key, text) != text:
            raise BadHeader("bad_content_length", f"both {headers[key][:40]} and {text[:40]}")
        headers.setdefault(key, text)
    return headers
