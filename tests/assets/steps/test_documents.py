"""Documents of a WARC file: every record is accounted for, and a row's text is a function of its page alone."""

import gzip
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from xxhash import xxh3_128_hexdigest

from assets.schemas import table
from assets.steps.documents import batches, documents_of, host_of
from assets.steps.warc import Page, read, read_record
from kernels.text.html import MAX_ELEMENTS, MAX_HTML_BYTES


def record(url: str, body: bytes, number: int = 0, kind: str = "response", mime: str = "text/html") -> bytes:
    block = body if kind == "conversion" else f"HTTP/1.1 200 OK\r\nContent-Type: {mime}\r\n\r\n".encode() + body
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-{number:012d}>\r\n"
        f"WARC-Date: 2024-05-06T07:08:09Z\r\nWARC-Target-URI: {url}\r\nContent-Type: {mime}\r\n"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + block + b"\r\n\r\n", mtime=0)


@pytest.fixture(scope="module")
def dolma(bundled_crawl):
    path = bundled_crawl / "web-sample-2024" / "dolma-sample-0000.warc.gz"
    return path, documents_of(path, "web-sample-2024/dolma-sample-0000.warc.gz", "web-sample-2024", "abc")


def test_tables_have_the_stated_columns(dolma):
    _, tables = dolma
    for name, rows in zip(("documents", "rejects", "record_counts"), tables, strict=True):
        assert rows.schema.equals(table(name).schema)


def test_every_record_is_accounted_for(dolma):
    path, (documents, rejects, counts) = dolma
    kinds = dict(zip(counts["kind"].to_pylist(), counts["records"].to_pylist(), strict=True))
    assert (
        sum(kinds.values())
        == sum(1 for _ in read(path, "f"))
        == gzip.decompress(path.read_bytes()).count(b"\nWARC-Record-ID:")
    )
    assert kinds["page"] == documents.num_rows == 22
    assert rejects.num_rows == 0
    assert "reject" not in kinds


def test_rows_lead_back_to_their_records(dolma):
    path, (documents, _, _) = dolma
    for row in documents.to_pylist():
        page = read_record(path, row["warc_path"], row["warc_offset"], row["warc_length"], row["warc_inner_offset"])
        assert (page.doc_id, page.url, page.payload_digest) == (row["doc_id"], row["url"], row["payload_digest"])
        assert row["content_hash"] == xxh3_128_hexdigest(row["text"].encode())


def test_rows_do_not_depend_on_the_batches_or_on_what_was_read_before(dolma):
    path, (documents, _, _) = dolma
    place = ("web-sample-2024/dolma-sample-0000.warc.gz", "web-sample-2024", "abc")
    singly = [row for batch in batches(path, *place, batch_pages=1) for row in batch.documents]
    assert pa.Table.from_pylist(singly, schema=table("documents").schema).equals(documents)


def test_text_is_extracted_from_real_pages(dolma):
    _, (documents, _, _) = dolma
    assert pc.sum(pc.utf8_length(documents["text"])).as_py() > 70_000
    assert "" not in documents["host"].to_pylist()


def test_conversion_record_gives_its_text_as_it_is(bundled_crawl):
    path = bundled_crawl / "web-sample-2024" / "cc-whirlwind.warc.wet.gz"
    documents, _, _ = documents_of(path, "w/x.wet.gz", "w", "abc")
    (page,) = [item for item in read(path, "f") if isinstance(item, Page)]
    assert documents["text"].to_pylist() == [page.body.decode()]
    assert documents["content_type"].to_pylist() == ["text/plain"]


def test_page_without_text_or_over_a_limit_keeps_its_row(tmp_path):
    path = tmp_path / "f.warc.gz"
    many = b"<html><body>" + b"<p>a" * (MAX_ELEMENTS + 1)
    bodies = [b"<html></html>", many, b"\xff" * (MAX_HTML_BYTES + 1)]
    path.write_bytes(b"".join(record(f"http://{n}.example/", body, n) for n, body in enumerate(bodies)))
    documents, rejects, counts = documents_of(path, "s/f.warc.gz", "s", "abc")
    assert documents["text"].to_pylist() == ["", "", ""]
    assert documents["extraction"].to_pylist() == ["ok", "too_many_elements", "page_too_large"]
    assert documents["charset"].to_pylist() == ["utf-8", "utf-8", ""]
    assert documents["content_hash"].to_pylist() == [xxh3_128_hexdigest(b"")] * 3
    assert rejects.num_rows == 0
    assert counts.to_pylist() == [
        {"snapshot": "s", "shard": "abc", "warc_path": "s/f.warc.gz", "kind": "page", "records": 3}
    ]


def test_undecodable_page_and_damage_are_rejects_with_reasons(tmp_path):
    path = tmp_path / "f.warc.gz"
    good = record("http://a.example/", b"<html><body><p>" + b"good words here, many of them. " * 9, 1)
    bad = record("http://b.example/", bytes(range(128, 256)) * 3, 2)
    path.write_bytes(good + bad + good[:60])
    documents, rejects, counts = documents_of(path, "s/f.warc.gz", "s", "abc", size_bytes=10_000)
    assert documents.num_rows == 1
    assert Counter(rejects["reason"].to_pylist()) == {"undecodable": 1, "truncated": 2}
    assert dict(zip(counts["kind"].to_pylist(), counts["records"].to_pylist(), strict=True)) == {"page": 1, "reject": 3}


@pytest.mark.parametrize(
    "text", ["NUL \0 inside", "lone \ud800 surrogate", "\ufffe\uffff", "bidi \u202e and \U0010ffff"]
)
def test_odd_characters_survive_to_parquet_and_back(tmp_path, text):
    path = tmp_path / "f.warc.gz"
    entity = f"<html><body><p>{'&#55296; words and more words. ' * 20}".encode()
    body = text.encode("utf-8", "ignore")
    path.write_bytes(
        record("http://a.example/", body, 1, "conversion", "text/plain")
        + record("http://b.example/", entity + body, 2)
        + record("http://c.example/", b"<html><p>" + text.encode("utf-16-le", "surrogatepass"), 3)
    )
    documents, rejects, _ = documents_of(path, "s/f.warc.gz", "s", "abc")
    assert documents.num_rows + rejects.num_rows == 3
    pq.write_table(documents, tmp_path / "d.parquet")
    assert pq.read_table(tmp_path / "d.parquet")["text"].to_pylist() == documents["text"].to_pylist()


@pytest.mark.parametrize(
    ("url", "host"),
    [("http://WWW.A.example:80/x", "www.a.example"), ("http://[bad/", ""), ("no address", "")],
)
def test_host_is_lower_case_or_empty(url, host):
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("head", "body", "kind"),
    [
        ("X-Robots-Tag: noai\r\nX-Robots-Tag: noindex\r\n", b"<p>x", "skipped:opt_out:noai"),
        ("TDM-Reservation: 1\r\n", b"<p>x", "skipped:opt_out:tdm_reservation"),
        ("", b"<head><meta name=robots content='noai, noimageai'></head><p>x", "skipped:opt_out:noai"),
        ("", b"<head><meta name=tdm-reservation content=1></head><p>x", "skipped:opt_out:tdm_reservation"),
        ("X-Robots-Tag: noindex, noimageai\r\n", b"<p>about noai", "page"),
    ],
)
def test_a_page_that_refuses_training_is_skipped_and_counted_where_that_is_asked(head, body, kind, tmp_path):
    page = gzip.decompress(record("https://example.org/", b"<html>" + body))
    spoken = page.replace(b"Content-Type: text/html\r\n\r\n<html>", f"{head}Content-Type: text/html\r\n\r\n".encode())
    grown = len(spoken) - len(page)
    length = int(page.split(b"Content-Length: ")[1].split(b"\r\n")[0])
    spoken = spoken.replace(f"Content-Length: {length}".encode(), f"Content-Length: {length + grown}".encode())
    path = tmp_path / "one.warc.gz"
    path.write_bytes(gzip.compress(spoken))
    for asked, expected in ((True, kind), (False, "page")):
        found = list(batches(path, "s/one.warc.gz", "s", "x", opt_outs=asked))
        assert found[0].counts == Counter({expected: 1}) and len(found[0].documents) == (expected == "page")
