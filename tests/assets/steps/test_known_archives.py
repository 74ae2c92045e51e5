"""What every archive file that we have yields: pages, skipped records, rejects by reason."""

import zlib
from collections import Counter
from pathlib import Path

import pytest

from assets.steps.warc import Page, Reject, read

# what each file yields, by kind: pages and rejects in full, skipped records as their number
BUNDLED_EDGE = {
    "cc_net-sample.warc.wet": {"bad_content_length": 4},
    "jhove-invalid-invalid-empty.warc": {"empty_file": 1},
    "jhove-invalid-invalid-warcfile-fields-missing.warc": {"missing_field": 1},
    "jhove-invalid-invalid-warcrecord-1.warc": {"missing_field": 2, "skipped": 4},
    "jhove-invalid-invalid-warcrecorddigests-1.warc": {"skipped": 7},
    "jhove-valid-valid-warcfile-utf8.warc": {"skipped": 1},
    "resiliparse-block-sized-records.warc.lz4": {"skipped": 3},
    "resiliparse-clipped.warc.gz": {"truncated": 1},
    "warcio-example-bad-non-chunked.warc.gz": {"page": 1, "skipped": 5},
    "warcio-example-digest.warc": {"skipped": 4},
    "warcio-example-iana.org-chunked.warc": {"page": 1, "skipped": 2},
    "warcio-example-trunc.warc": {"bad_content_length": 1, "skipped": 3},
    "warcio-example-wrong-chunks.warc.gz": {"truncated": 1, "junk": 1, "skipped": 1},
    "warcio-example.arc.gz": {"arc_not_supported": 1},
    "warcio-example.warc.gz": {"page": 1, "skipped": 5},
}
BUNDLED_CRAWL = {
    "CC-MAIN-2020-34/CC-MAIN-20200808165417-20200808195417-00395.warc.gz": {"page": 16, "skipped": 34},
    "web-sample-2024/bitchmagazine-2013.warc.gz": {"page": 63, "skipped": 168},
    "web-sample-2024/cc-whirlwind.warc.gz": {"page": 1, "skipped": 3},
    "web-sample-2024/cc-whirlwind.warc.wet.gz": {"page": 1, "skipped": 1},
    "web-sample-2024/dolma-sample-0000.warc.gz": {"page": 22, "skipped": 26},
    "web-sample-2024/web-sample-2024-00000.warc.gz": {"page": 111, "skipped": 1},
    "web-sample-2024/web-sample-2024-00001.warc.gz": {"page": 117, "skipped": 1},
    "web-sample-2024/web-sample-2024-00002.warc.gz": {"page": 102, "skipped": 1},
}
SHARED = {
    "warc-edge/ia-web-commons/IAH-blackbook-truncated.arc": {"arc_not_supported": 1},
    "warc-edge/ia-web-commons/html-lang-attribute.warc": {"page": 5},
    "warc-edge/ia-web-commons/link-extraction-test.warc": {"page": 9, "skipped": 1},
    "warc-edge/ia-web-commons/meta-itemprop.warc": {"page": 1},
    "warc-edge/ia-web-commons/mutliple-headers.warc": {"page": 1},
    "warc-edge/ia-web-commons/text-extraction-test.warc": {"page": 1, "skipped": 3},
    "warc-edge/ia-web-commons/title-extraction-embedded-SVG.warc": {"page": 1},
    "warc-edge/jhove/invalid/invalid-warcfile-digest-fields.warc": {
        "page": 1,
        "digest_mismatch": 1,
        "duplicate_record_id": 2,
    },
    "warc-edge/jhove/invalid/invalid-warcfile-fields-invalidformat.warc": {"bad_content_length": 1},
    "warc-edge/jhove/invalid/invalid-warcfile-lonely-continuation.warc": {"missing_field": 1},
    "warc-edge/jhove/invalid/invalid-warcfile-lonely-revisit.warc": {"missing_field": 1},
    "warc-edge/jhove/invalid/invalid-warcfile-segment-number-continuation.warc": {"skipped": 2},
    "warc-edge/jhove/invalid/invalid-warcfile-segment-number-response.warc": {"segmented_record": 2},
    "warc-edge/jhove/invalid/invalid-warcheaderfieldpolicy-8.warc": {"missing_field": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderfieldpolicy-9.warc": {"skipped": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderfieldpolicy-10.warc": {"skipped": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderfieldpolicy-12.warc": {"truncated": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderfieldpolicy-14.warc": {"truncated": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderfieldpolicy-16.warc": {"truncated": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderfieldpolicy-17.warc": {"truncated": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderversion-1.warc": {"truncated": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderversion-4.warc": {"truncated": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderversion-10.warc": {"truncated": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderversion-12.warc": {"bad_version": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderversion-13.warc": {"bad_version": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderversion-15.warc": {"bad_version": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderversion-19.warc": {"not_warc": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderversion-20.warc": {"not_warc": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderversion-21.warc": {"missing_field": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderversion-24.warc": {"truncated": 1},
    "warc-edge/jhove/invalid/invalid-warcheaderversion-25.warc": {"truncated": 1},
    "warc-edge/jhove/invalid/invalid-warcreader-diagnosis-1.warc": {"not_warc": 1},
    "warc-edge/jhove/invalid/invalid-warcrecord-3.warc": {"bad_content_length": 2, "truncated": 1, "skipped": 3},
    "warc-edge/jhove/invalid/invalid-warcrecorddigests-3.warc": {"skipped": 2},
    "warc-edge/jhove/valid/valid-warcfile-upper-lower-case.warc": {"skipped": 5},
    "warc-edge/jhove/valid/valid-warcrecorddigests-1.warc": {"skipped": 7},
    "warc-edge/resiliparse/block-sized-records.warc.gz": {"skipped": 3},
    "warc-edge/warcio/bad.arc": {"arc_not_supported": 1},
    "warc-edge/warcio/example-resource.warc.gz": {"skipped": 3},
    "warc-edge/warcio/example-space-in-target-uri.warc.gz": {"skipped": 2},
    "warc-edge/warcio/example-space-in-url.arc": {"arc_not_supported": 1},
    "warc-edge/warcio/example-wget-bad-target-uri.warc.gz": {"page": 1, "skipped": 5},
    "warc-edge/warcio/example.arc": {"arc_not_supported": 1},
    "warc-edge/warcio/example.warc": {"page": 1, "skipped": 5},
    "warc-edge/warcio/post-test.warc.gz": {"skipped": 6},
    "warc/IAH-20080430204825-00000-blackbook.arc.gz": {"arc_not_supported": 1},
    "warc/IAH-20080430204825-00000-blackbook.warc.gz": {"page": 94, "skipped": 728},
    "warc/IAH-urls-wget.warc.gz": {"page": 2, "skipped": 34},
    "warc/cc-crawl-2012-a.arc.gz": {"arc_not_supported": 1},
    "warc/cc-main-2020-34.warc.lz4": {"page": 16, "skipped": 34},
    "warc/cc-whirlwind.warc.wat.gz": {"skipped": 2},
    "warc/content-encoding-gzip.warc.gz": {"page": 1, "skipped": 4},
    "warc/content-encoding-none.warc.gz": {"page": 1, "skipped": 4},
}


def summary(path: Path) -> dict[str, int]:
    """How many pages and skipped records a file yields, and how many rejects of each reason."""
    found: Counter[str] = Counter()
    for item in read(path, path.name):
        found[item.reason if isinstance(item, Reject) else type(item).__name__.lower()] += 1
    return dict(found)


@pytest.mark.parametrize("name", BUNDLED_EDGE)
def test_hostile_file_yields_what_is_known_of_it(bundled_crawl, name):
    assert summary(bundled_crawl.parent / "warc-edge" / name) == BUNDLED_EDGE[name]


def test_every_bundled_hostile_file_has_its_expectation(bundled_crawl):
    assert {path.name for path in (bundled_crawl.parent / "warc-edge").iterdir()} == set(BUNDLED_EDGE)


@pytest.mark.parametrize("name", BUNDLED_CRAWL)
def test_bundled_crawl_is_read_without_a_reject(bundled_crawl, name):
    assert summary(bundled_crawl / name) == BUNDLED_CRAWL[name]


def test_every_shared_archive_yields_what_is_known_of_it(shared_data):
    found = {name: summary(shared_data / name) for name in SHARED}
    assert found == SHARED


def test_same_records_in_gzip_and_lz4_give_the_same_pages(shared_data):
    gz, lz4 = (
        [
            (page.doc_id, page.url, page.payload_digest, page.body)
            for page in read(shared_data / "warc" / f"cc-main-2020-34.warc.{kind}", "x")
            if isinstance(page, Page)
        ]
        for kind in ("gz", "lz4")
    )
    assert gz == lz4
    assert len(gz) == 16


def test_places_agree_with_the_index_that_another_tool_made(shared_data):
    name = "IAH-20080430204825-00000-blackbook.warc.gz"
    lines = (shared_data / "warc" / f"{name}.cdx").read_text().splitlines()[1:]
    offsets = {int(line.split()[-2]) for line in lines}
    pages = [item for item in read(shared_data / "warc" / name, name) if isinstance(item, Page)]
    assert pages
    assert {page.warc_offset for page in pages} <= offsets


def test_digest_equals_the_crawlers_own_on_common_crawl_records(bundled_crawl):
    path = bundled_crawl / "CC-MAIN-2020-34" / "CC-MAIN-20200808165417-20200808195417-00395.warc.gz"
    data = path.read_bytes()
    for page in read(path, path.name):
        if isinstance(page, Page):
            member = zlib.decompress(data[page.warc_offset : page.warc_offset + page.warc_length], 31)
            assert f"WARC-Payload-Digest: {page.payload_digest}\r\n".encode() in member
