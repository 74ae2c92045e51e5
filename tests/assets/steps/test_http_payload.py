"""The HTTP response in a record: encodings are undone within bounds, and every failure has its name."""

import gzip
import io
import zlib

import pytest
from fastwarc.stream_io import BrotliWriter
from hypothesis import given
from hypothesis import strategies as st

from assets.steps.http_payload import BadPayload, dechunk, decode_body, parse_response, sniff_html

PAGE = b"<html><body>" + b"Some words of the page. " * 40 + b"</body></html>"


def brotli(body: bytes) -> bytes:
    out = io.BytesIO()
    writer = BrotliWriter(out)
    writer.write(body)
    writer.close()
    return out.getvalue()


def raw_deflate(body: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return squeeze.compress(body) + squeeze.flush()


def chunked(body: bytes, sizes: list[int]) -> bytes:
    out, position = b"", 0
    for size in sizes:
        piece = body[position : position + size]
        position += len(piece)
        out += b"%X;ext=1\r\n%b\r\n" % (len(piece), piece) if piece else b""
    rest = body[position:]
    return out + (b"%x\r\n%b\r\n" % (len(rest), rest) if rest else b"") + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("br", brotli),
    ],
)
def test_content_coding_is_undone(coding, encode):
    assert decode_body({"content-encoding": coding}, encode(PAGE)) == (encode(PAGE), PAGE)


def test_codings_are_undone_last_first():
    assert decode_body({"content-encoding": "deflate, gzip"}, gzip.compress(zlib.compress(PAGE)))[1] == PAGE


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity"])
def test_body_that_is_plainly_not_encoded_is_taken_as_it_is(coding):
    assert decode_body({"content-encoding": coding}, PAGE)[1] == PAGE


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(PAGE)[:-20]),
        ("gzip", gzip.compress(PAGE)[:30] + b"damage" + gzip.compress(PAGE)[36:]),
        ("deflate", zlib.compress(PAGE)[:-9]),
        ("br", brotli(PAGE)[:-6]),
        ("novel", b"anything"),
    ],
    ids=["gzip cut", "gzip damaged", "deflate cut", "br cut", "unknown"],  # gzip's bytes hold the time
)
def test_broken_coding_is_a_typed_failure(coding, body):
    with pytest.raises(BadPayload) as caught:
        decode_body({"content-encoding": coding}, body)
    assert caught.value.reason == "bad_content_encoding"


def test_body_that_the_crawler_cut_is_used_as_far_as_it_goes():
    body = zlib.compress(PAGE, 0)[:-40]
    assert decode_body({"content-encoding": "deflate"}, body, may_end_early=True)[1] == PAGE[: len(PAGE) - 36]


@pytest.mark.parametrize(("coding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli)])
def test_bomb_is_refused(coding, encode):
    with pytest.raises(BadPayload) as caught:
        decode_body({"content-encoding": coding}, encode(bytes(50 << 20)))
    assert caught.value.reason == "payload_bomb"


@given(body=st.binary(max_size=300), sizes=st.lists(st.integers(1, 90), max_size=6))
def test_chunks_are_put_together(body, sizes):
    assert dechunk(chunked(body, sizes), may_end_early=False) == body


@given(body=st.binary(min_size=2, max_size=300), cut=st.integers(1, 40))
def test_chunked_body_that_ends_early_is_a_failure_unless_the_record_says_so(body, cut):
    whole = chunked(body, [])
    damaged = whole[: len(whole) - 7 - min(cut, len(body) - 1)]
    with pytest.raises(BadPayload):
        dechunk(damaged, may_end_early=False)
    assert body.startswith(dechunk(damaged, may_end_early=True))


def test_body_without_chunk_sizes_was_put_together_by_the_crawler():
    assert decode_body({"transfer-encoding": "chunked"}, PAGE) == (PAGE, PAGE)


def test_headers_are_read_with_any_line_ends():
    for end in (b"\r\n", b"\n"):
        block = end.join([b"HTTP/2 200", b"Content-TYPE:text/html", b"odd line", b"X: a:b", b"", PAGE])
        response = parse_response(block)
        assert (response.status, response.headers) == (200, {"content-type": "text/html", "x": "a:b"})
        assert block[response.body_start :] == PAGE


def test_response_without_any_header_has_a_body():
    assert parse_response(b"HTTP/1.0 200 OK\r\n\r\nbody").body_start == 19


@pytest.mark.parametrize("block", [b"", b"HTTP/1.1 OK", b"ICY 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n"])
def test_message_without_status_or_end_of_headers_is_a_typed_failure(block):
    with pytest.raises(BadPayload) as caught:
        parse_response(block)
    assert caught.value.reason == "bad_http"


@pytest.mark.parametrize(
    ("body", "is_html"),
    [
        (b"\xef\xbb\xbf\n <!DOCTYPE HTML>", True),
        (b"<html>", True),
        (b"<!-- x --><html>", True),
        (b"<htmlx>", False),
        (b"<?xml version='1.0'?><rss>", False),
        (b"%PDF-1.4 <html>", False),
    ],
)
def test_html_is_told_by_how_it_begins(body, is_html):
    assert sniff_html(body) == is_html
