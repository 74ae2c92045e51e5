"""The HTTP response inside a WARC record: its status, headers and body, and the body without its encodings.

Transfer and content encodings are undone with a bound on what they may grow to; every failure is a BadPayload with a
typed reason. Some crawlers keep the headers of encodings that they have already undone: a body that is plainly not
encoded as stated is taken as it is.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fastwarc.stream_io import BrotliReader, ZstdReader

MAX_HEADER_BYTES = 1 << 18
ADDED_UP = frozenset({"x-robots-tag"})  # each of several says something
MAX_BODY_BYTES = 32 << 20  # decoded
BOMB_BYTES = 4 << 20  # a body may grow to this size whatever its ratio,
BOMB_RATIO = 200  # and beyond it only up to this many times its encoded size
STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d+)?[ \t]+(\d{3})(?:[ \t][^\r\n]*)?\r?\n?")
HEADER_END = re.compile(rb"\r?\n\r?\n")
CHUNK_SIZE = re.compile(rb"[ \t]*([0-9a-fA-F]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")
# how a page begins, after white space (the HTML patterns of the WHATWG MIME Sniffing Standard, section 7.1)
HTML_START = re.compile(
    rb"(?i)(?:\xef\xbb\xbf)?[\t\n\x0c\r ]*<(?:!--|(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style"
    rb"|title|b|body|br|p)[ >\t\n\r])"
)


class BadPayload(Exception):
    """A response that cannot be read. reason: bad_http, http_header_too_large, bad_chunking, bad_content_encoding,
    payload_bomb or payload_too_large; detail: what was seen."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Response:
    """Status, headers (lower-case names; the last one of a name wins, those of ADDED_UP make a list) and where the body
    begins in the block."""

    status: int
    headers: dict[str, str]
    body_start: int


def parse_response(block: bytes) -> Response:
    """Reads status line and headers from the start of a block; raises BadPayload."""
    status = STATUS_LINE.match(block)
    if not status:
        raise BadPayload("bad_http", f"no HTTP status line: {block[:40]!r}")
    end = HEADER_END.search(block, status.end() - 2, MAX_HEADER_BYTES)
    if not end:
        if len(block) >= MAX_HEADER_BYTES:
            raise BadPayload("http_header_too_large", f"no end of the HTTP headers in {MAX_HEADER_BYTES} bytes")
        if status[1] == b"200":
            raise BadPayload("bad_http", "the HTTP headers do not end")
    headers: dict[str, str] = {}
    for line in block[status.end() : end.start() if end else len(block)].split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon:
            key, said = name.strip().decode("latin-1").lower(), value.strip().decode("latin-1")
            headers[key] = f"{headers[key]}, {said}" if key in ADDED_UP and key in headers else said
    return Response(int(status[1]), headers, end.end() if end else len(block))


def sniff_html(body: bytes) -> bool:
    """Whether a body begins as an HTML page does."""
    return bool(HTML_START.match(body[:1024]))


def dechunk(body: bytes, *, may_end_early: bool) -> bytes:
    """A chunked body put together; a body that does not begin with a chunk size is taken to be put together already.

    may_end_early: the record says that it was cut (WARC-Truncated), so an end inside a chunk is no error.
    """
    head = CHUNK_SIZE.match(body)
    if not head:
        return body
    parts, position = [], 0
    while head:
        length = int(head[1], 16)
        start = head.end()
        parts.append(body[start : start + length])
        position = start + length
        if not length:
            return b"".join(parts)
        if position > len(body):
            break
        separator = 2 if body.startswith(b"\r\n", position) else 1 if body.startswith(b"\n", position) else 0
        head = CHUNK_SIZE.match(body, position + separator) if separator else None
    if may_end_early and position >= len(body):
        return b"".join(parts)
    raise BadPayload("bad_chunking", f"no chunk at byte {min(position, len(body))} of {len(body)}")


def _bounded(pieces: Iterable[bytes], encoded_bytes: int) -> bytes:
    """Joins decoded pieces, up to the bounds on size and ratio."""
    decoded = bytearray()
    for piece in pieces:
        decoded += piece
        if len(decoded) > BOMB_BYTES and len(decoded) > BOMB_RATIO * encoded_bytes:
            raise BadPayload("payload_bomb", f"{encoded_bytes} encoded bytes grow to more than {len(decoded)}")
        if len(decoded) > MAX_BODY_BYTES:
            raise BadPayload("payload_too_large", f"more than {MAX_BODY_BYTES} decoded bytes")
    return bytes(decoded)


def _zlib_pieces(body: bytes, wbits: int, may_end_early: bool) -> Iterator[bytes]:
    rest = body
    while rest:
        inflate = zlib.decompressobj(wbits)
        pending = rest
        while not inflate.eof:
            piece = inflate.decompress(pending, 1 << 20)
            pending = inflate.unconsumed_tail
            if piece:
                yield piece
            elif not pending and not inflate.eof:
                if may_end_early:
                    return
                raise EOFError
        rest = inflate.unused_data if wbits == 31 and inflate.unused_data.startswith(b"\x1f\x8b") else b""


def _reader_pieces(reader: BrotliReader | ZstdReader) -> Iterator[bytes]:
    while piece := reader.read(1 << 20):
        yield piece


def _undo(coding: str, body: bytes, may_end_early: bool) -> bytes:
    """One content coding undone; raises BadPayload, zlib.error, OSError or EOFError."""
    if coding in ("gzip", "x-gzip"):
        return _bounded(_zlib_pieces(body, 31, may_end_early), len(body)) if body.startswith(b"\x1f\x8b") else body
    if coding == "deflate":
        zlib_header = len(body) > 1 and body[0] & 15 == 8 and (body[0] * 256 + body[1]) % 31 == 0
        return _bounded(_zlib_pieces(body, 15 if zlib_header else -15, may_end_early), len(body))
    if coding == "br":
        return _bounded(_reader_pieces(BrotliReader(io.BytesIO(body))), len(body))
    if coding == "zstd":
        return _bounded(_reader_pieces(ZstdReader(io.BytesIO(body))), len(body))
    raise BadPayload("bad_content_encoding", f"unknown coding {coding[:40]!r}")


def decode_body(headers: dict[str, str], body: bytes, *, may_end_early: bool = False) -> tuple[bytes, bytes]:
    """(body without transfer encoding, body without transfer and content encoding); raises BadPayload."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = dechunk(body, may_end_early=may_end_early)
    decoded = body
    codings = [coding.strip().lower() for coding in headers.get("content-encoding", "").split(",")]
    for coding in reversed([coding for coding in codings if coding not in ("", "identity", "none")]):
        try:
            if decoded:
                decoded = _undo(coding, decoded, may_end_early)
        except (zlib.error, OSError, EOFError) as error:
            if not sniff_html(decoded):
                raise BadPayload("bad_content_encoding", f"{coding}: {error or 'the body ends early'}") from error
    return body, decoded
