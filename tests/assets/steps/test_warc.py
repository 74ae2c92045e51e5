"""Reading web archives: what damage does, how records are told apart, and the way back from a place to its page."""

import base64
import gzip
import hashlib
import random
import subprocess
import sys
import uuid
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.steps.warc import Page, RecordNotFound, Reject, Skipped, read, read_record

PAGE = b"<!doctype html><html><body><p>A page of the test.</p></body></html>"


def http(body: bytes = PAGE, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *(headers or ("Content-Type: text/html",))]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def record(
    block: bytes, *headers: str, kind: str = "response", url: str = "http://a.example/", number: int = 0
) -> bytes:
    """One record; a header given by name replaces the standard one of that name."""
    standard = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:00000000-0000-4000-8000-{number:012d}>",
        "WARC-Date": "2024-05-06T07:08:09Z",
        "WARC-Target-URI": url,
        "Content-Length": str(len(block)),
    }
    standard |= dict(header.split(": ", 1) for header in headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in standard.items() if value != "-")
    return b"WARC/1.1\r\n" + head.encode() + b"\r\n" + block + b"\r\n\r\n"


def items_of(tmp_path: Path, content: bytes) -> list[Page | Skipped | Reject]:
    path = tmp_path / "file.warc"
    path.write_bytes(content)
    return list(read(path, "s/file.warc"))


def only(tmp_path: Path, content: bytes) -> Page | Skipped | Reject:
    (item,) = items_of(tmp_path, content)
    return item


def test_page_is_read_again_from_its_place(bundled_crawl):
    for path in sorted(bundled_crawl.glob("*/*")):
        for page in read(path, path.name):
            if isinstance(page, Page):
                place = (page.warc_offset, page.warc_length, page.warc_inner_offset)
                assert read_record(path, path.name, *place) == page


def test_place_without_a_page_is_a_typed_error(bundled_crawl):
    path = bundled_crawl / "web-sample-2024" / "cc-whirlwind.warc.gz"
    with pytest.raises(RecordNotFound, match="cc-whirlwind"):
        read_record(path, path.name, 3, 100)
    with pytest.raises(RecordNotFound, match="warcinfo"):
        read_record(path, path.name, 0, 500)


def intact(path: Path) -> dict[tuple, Page]:
    return {(p.warc_offset, p.warc_inner_offset): p for p in read(path, "f") if isinstance(p, Page)}


@pytest.mark.parametrize("name", ["dolma-sample-0000.warc.gz", "cc-whirlwind.warc.wet.gz"])
def test_cut_is_reported_and_never_tears_a_page(bundled_crawl, tmp_path, name):
    path = bundled_crawl / "web-sample-2024" / name
    pages, data, draw = intact(path), path.read_bytes(), random.Random(1)
    for _ in range(200):
        cut = draw.randrange(len(data))
        (tmp_path / "cut").write_bytes(data[:cut])
        found = list(read(tmp_path / "cut", "f", size_bytes=len(data)))
        rejects = [item for item in found if isinstance(item, Reject)]
        read_pages = [item for item in found if isinstance(item, Page)]
        assert rejects, cut
        assert all(page == pages[page.warc_offset, page.warc_inner_offset] for page in read_pages)
        whole = {place for place, page in pages.items() if page.warc_offset + page.warc_length <= cut}
        assert {(page.warc_offset, page.warc_inner_offset) for page in read_pages} == whole


@pytest.mark.parametrize("name", ["dolma-sample-0000.warc.gz", "cc-whirlwind.warc.gz"])
def test_flipped_bits_cost_only_the_records_that_they_hit(bundled_crawl, tmp_path, name):
    path = bundled_crawl / "web-sample-2024" / name
    pages, data, draw = intact(path), path.read_bytes(), random.Random(2)
    members = sorted({item.warc_offset for item in read(path, "f")})
    for flips in [1, 2, 8] * 40:
        damaged = bytearray(data)
        places = [draw.randrange(len(data)) for _ in range(flips)]
        for place in places:
            damaged[place] ^= 1 << draw.randrange(8)
        (tmp_path / "flipped").write_bytes(damaged)
        found = list(read(tmp_path / "flipped", "f"))
        read_pages = {(item.warc_offset, item.warc_inner_offset): item for item in found if isinstance(item, Page)}
        assert all(page == pages[place] for place, page in read_pages.items())
        lost = set(pages) - set(read_pages)
        assert bool(lost) <= any(isinstance(item, Reject) for item in found)
        hit = {max(start for start in members if start <= place) for place in places}
        assert {offset for offset, _ in lost} <= hit


def test_junk_between_members_is_reported_and_passed_over(tmp_path):
    members = [gzip.compress(record(http(), number=n, url=f"http://a.example/{n}"), mtime=0) for n in range(3)]
    path = tmp_path / "junk.warc.gz"
    path.write_bytes(members[0] + b"\x1f\x8bnot a member" + members[1] + b"PK\x03\x04" * 9 + members[2])
    found = list(read(path, "f"))
    assert [type(item) for item in found] == [Page, Reject, Page, Reject, Page]
    assert [item.reason for item in found if isinstance(item, Reject)] == ["corrupt_gzip", "junk"]
    assert sum(item.warc_length for item in found) == path.stat().st_size


def test_many_records_in_one_member_are_told_apart_by_inner_offset(tmp_path):
    plain = b"".join(record(http(PAGE + b"%d" % n), number=n) for n in range(5))
    path = tmp_path / "one.warc.gz"
    path.write_bytes(gzip.compress(plain))
    pages = list(read(path, "f"))
    assert [page.body for page in pages if isinstance(page, Page)] == [PAGE + b"%d" % n for n in range(5)]
    assert {(page.warc_offset, page.warc_length) for page in pages} == {(0, path.stat().st_size)}
    for page in pages:
        assert isinstance(page, Page)
        assert plain[page.warc_inner_offset :].startswith(b"WARC/1.1")
        assert read_record(path, "f", 0, page.warc_length, page.warc_inner_offset) == page


def test_truncated_member_gives_only_records_that_their_digest_vouches_for(tmp_path):
    def digest(body: bytes) -> str:
        return "sha1:" + base64.b32encode(hashlib.sha1(body).digest()).decode()

    draw = random.Random(3)
    bodies = [PAGE + draw.randbytes(3000) for _ in range(5)]
    blocks = [record(http(b), f"WARC-Payload-Digest: {digest(b)}", number=n) for n, b in enumerate(bodies)]
    blocks[1] = record(http(bodies[1]), number=1)  # nothing vouches for this one
    path = tmp_path / "cut.warc.gz"
    path.write_bytes(gzip.compress(b"".join(blocks))[:-4000])
    found = list(read(path, "f"))
    assert [item.body for item in found if isinstance(item, Page)] == [bodies[0], bodies[2]]
    assert {item.reason for item in found if isinstance(item, Reject)} == {"truncated"}


def test_large_member_is_read_in_bounded_memory(tmp_path):
    filler = b"".join(record(random.Random(n).randbytes(1 << 20), kind="metadata", number=n + 9) for n in range(40))
    path = tmp_path / "large.warc.gz"
    path.write_bytes(gzip.compress(record(http(), number=1) + filler + record(http(), number=2), 1))
    pages = [item for item in read(path, "f") if isinstance(item, Page)]
    assert [page.doc_id[-1] for page in pages] == ["1", "2"]
    assert read_record(path, "f", 0, 1, pages[1].warc_inner_offset).doc_id == pages[1].doc_id


def test_gzip_bomb_is_refused_at_the_cap_and_the_rest_is_read(tmp_path):
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = record(b"", "Content-Length: 400000000")[:-4]
    bomb = squeeze.compress(head) + b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(400)) + squeeze.flush()
    path = tmp_path / "bomb.warc.gz"
    path.write_bytes(gzip.compress(record(http(), number=1)) + bomb + gzip.compress(record(http(), number=2)))
    program = (
        "import sys; from pathlib import Path; from assets.steps.warc import read;"
        "print([getattr(i, 'reason', 'page') for i in read(sys.argv[1], 'f')]);"
        "print(*[line.split()[1] for line in Path('/proc/self/status').open() if line.startswith('VmHWM')])"
    )
    out = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True).stdout
    kinds, peak_kib = out.splitlines()
    assert kinds == "['page', 'gzip_bomb', 'page']"
    assert int(peak_kib) < 256 * 1024


def test_record_that_claims_two_gigabytes_costs_only_itself(tmp_path):
    liar = record(b"ten bytes!", "Content-Length: 2000000000", number=77)
    good = [record(http(), number=n, url=f"http://a.example/{n}") for n in range(100)]
    for compress in (bytes, gzip.compress):
        content = b"".join(compress(piece) for piece in [*good[:40], liar, *good[40:]])
        found = items_of(tmp_path, content)
        assert sum(isinstance(item, Page) for item in found) == 100
        (reject,) = [item for item in found if isinstance(item, Reject)]
        assert reject.reason in ("bad_content_length", "truncated")


def test_plain_file_cut_between_records_is_noticed_by_its_size(tmp_path):
    first, second = record(http(), number=1), record(http(), number=2)
    path = tmp_path / "cut.warc"
    path.write_bytes(first)
    assert len(list(read(path, "f"))) == 1
    page, reject = read(path, "f", size_bytes=len(first + second))
    assert isinstance(page, Page)
    assert isinstance(reject, Reject)
    assert reject.reason == "truncated"


@pytest.mark.parametrize(
    ("reason", "content"),
    [
        ("empty_file", b""),
        ("not_warc", b"<!doctype html><html><body>no archive</body></html>"),
        ("not_warc", gzip.compress(b"a compressed text file", mtime=0)),
        ("arc_not_supported", b"filedesc://a.arc 0.0.0.0 20080430204825 text/plain 76\n1 0 InternetArchive\n"),
        ("unsupported_compression", b"\x28\xb5\x2f\xfd rest"),
        ("header_too_large", b"WARC/1.0\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n"),
        ("bad_content_length", record(http(), "Content-Length: -5")),
        ("bad_content_length", record(http(), "Content-Length: 5")),
        ("bad_header", record(http(), "X-Nul: \0")),
        ("bad_target_uri", record(http(), "WARC-Target-URI: -")),
        ("bad_target_uri", record(http(), "WARC-Target-URI: http://a\x07.example/")),
        ("bad_http", record(b"no status line\r\n\r\n" + PAGE)),
        ("bad_http", record(b"HTTP/1.1 200 OK\r\nContent-Type: text/html")),
        ("http_header_too_large", record(b"HTTP/1.1 200 OK\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n")),
        ("digest_mismatch", record(http(), "WARC-Payload-Digest: sha1:" + "A" * 32)),
        ("segmented_record", record(http(), "WARC-Segment-Number: 1")),
        (
            "bad_chunking",
            record(http(b"5\r\nhello\r\nzz\r\n", "Content-Type: text/html", "Transfer-Encoding: chunked")),
        ),
        ("too_large", record(http(PAGE + bytes(33 << 20)))),
    ],
)
def test_damage_lands_in_its_named_reason(tmp_path, reason, content):
    item = only(tmp_path, content)
    assert isinstance(item, Reject)
    assert item.reason == reason
    assert item.detail


@pytest.mark.parametrize(
    ("reason", "content"),
    [
        ("warcinfo", record(b"a: b\r\n", kind="warcinfo")),
        ("request", record(b"GET / HTTP/1.1\r\n\r\n", kind="request")),
        ("revisit", record(http(), kind="revisit")),
        ("unknown_type", record(http(), kind="novelty")),
        ("status", record(http(PAGE, status="404 Not Found"))),
        ("status", record(http(b"", status="301"))),
        ("mime", record(http(PAGE, "Content-Type: image/png"))),
        ("mime", record(http(b"\x89PNG", "Server: x"))),
        ("mime", record(http(), "WARC-Identified-Payload-Type: application/pdf")),
        ("mime", record(b"{}", "Content-Type: application/json", kind="conversion")),
        ("not_http", record(b"20080430\n", url="dns:www.archive.org")),
    ],
)
def test_readable_record_that_is_no_page_is_skipped_with_its_reason(tmp_path, reason, content):
    item = only(tmp_path, content)
    assert isinstance(item, Skipped)
    assert item.reason == reason


def test_damage_in_one_record_leaves_the_next_one_readable(tmp_path):
    bad = record(http(), "Content-Length: -5", number=1)
    found = items_of(tmp_path, bad + record(http(), number=2) + b"junk\r\n" + record(http(), number=3))
    assert [getattr(item, "reason", "page") for item in found] == ["bad_content_length", "bad_content_length", "page"]
    found = items_of(tmp_path, bad + record(http(), number=2) + b"\r\n" + record(http(), number=3))
    assert [getattr(item, "reason", "page") for item in found] == ["bad_content_length", "page", "page"]


def test_second_page_of_the_same_id_is_rejected(tmp_path):
    found = items_of(tmp_path, record(http(), number=4) * 2)
    assert isinstance(found[0], Page)
    assert isinstance(found[1], Reject)
    assert found[1].reason == "duplicate_record_id"


def test_page_says_where_when_and_what_it_is(tmp_path):
    body = gzip.compress(PAGE, mtime=0)
    stored = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    encodings = ("Content-Type: text/HTML; charset=x", "Transfer-Encoding: chunked", "Content-Encoding: gzip")
    page = only(tmp_path, record(http(stored, *encodings), number=7, url="<http://a.example/b c>"))
    assert page == Page(
        doc_id="00000000-0000-4000-8000-000000000007",
        url="http://a.example/b c",
        fetched_at=datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
        warc_path="s/file.warc",
        warc_offset=0,
        warc_length=(tmp_path / "file.warc").stat().st_size - 4,
        warc_inner_offset=0,
        payload_digest="sha1:" + base64.b32encode(hashlib.sha1(stored).digest()).decode(),
        payload_bytes=len(stored),
        content_type="text/html",
        body=PAGE,
        headers={"content-type": "text/HTML; charset=x", "transfer-encoding": "chunked", "content-encoding": "gzip"},
    )


@pytest.mark.parametrize("form", ["stored", "joined", "decoded"])
@pytest.mark.parametrize("written", ["base32", "hex", "base64", "lower"])
def test_digest_of_any_form_and_spelling_is_accepted(tmp_path, form, written):
    joined = gzip.compress(PAGE, mtime=0)
    stored = b"%x\r\n" % len(joined) + joined + b"\r\n0\r\n\r\n"
    digest = hashlib.sha1({"stored": stored, "joined": joined, "decoded": PAGE}[form]).digest()
    spelling = {
        "base32": base64.b32encode(digest).decode(),
        "lower": base64.b32encode(digest).decode().lower(),
        "hex": digest.hex(),
        "base64": base64.b64encode(digest).decode(),
    }[written]
    headers = ("Content-Type: text/html", "Transfer-Encoding: chunked", "Content-Encoding: gzip")
    item = only(tmp_path, record(http(stored, *headers), f"WARC-Payload-Digest: SHA-1:{spelling}"))
    assert isinstance(item, Page)


def test_id_is_the_place_where_the_record_has_none(tmp_path):
    first, second = items_of(tmp_path, record(http(), "WARC-Record-ID: -") * 2)
    assert isinstance(first, Page)
    assert isinstance(second, Page)
    assert first.doc_id == str(uuid.uuid5(uuid.NAMESPACE_URL, "s/file.warc#0#0"))
    assert first.doc_id != second.doc_id


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("2013-07-08T06:04:31.123456789Z", datetime(2013, 7, 8, 6, 4, 31, 123456, tzinfo=UTC)),
        ("2013-07-08", datetime(2013, 7, 8, tzinfo=UTC)),
        ("2013-02-31T00:00:00Z", None),
        ("yesterday", None),
    ],
)
def test_date_is_read_or_absent(tmp_path, written, read_as):
    page = only(tmp_path, record(http(), f"WARC-Date: {written}"))
    assert isinstance(page, Page)
    assert page.fetched_at == read_as


def test_fsspec_address_gives_the_same_as_the_local_file(bundled_crawl):
    import fsspec

    path = bundled_crawl / "web-sample-2024" / "dolma-sample-0000.warc.gz"
    with fsspec.open("memory://crawl/dolma.warc.gz", "wb") as file:
        file.write(path.read_bytes())
    assert list(read("memory://crawl/dolma.warc.gz", "f")) == list(read(path, "f"))


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=400), where=st.integers(0, 3), squeezed=st.booleans())
def test_any_bytes_among_good_records_are_accounted_for(tmp_path_factory, content, where, squeezed):
    good = [record(http(), number=n) for n in range(3)]
    pieces = [gzip.compress(piece, mtime=0) if squeezed else piece for piece in good]
    path = tmp_path_factory.mktemp("any") / "f"
    path.write_bytes(b"".join([*pieces[:where], content, *pieces[where:]]))
    pages = {item.doc_id: item for item in read(path, "f") if isinstance(item, Page)}
    if squeezed and where:  # before the first member they may make another kind of file of it
        assert len(pages) == 3
    for number, page in ((int(doc_id[-1]), page) for doc_id, page in pages.items()):
        same = replace(page, warc_offset=0, warc_length=0, warc_inner_offset=0)
        assert same.body == PAGE
        assert number < 3
