"""Main text of a page: a pure function of its bytes, with typed limits, and never silent about a broken extractor."""

import random
import sys
from contextlib import suppress

import pytest
import trafilatura
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.steps.warc import Page, read
from kernels.text import html
from kernels.text.html import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_HTML_BYTES,
    BrokenExtractor,
    ExtractionFailed,
    ExtractionLimit,
    PageTooDeep,
    PageTooLarge,
    TooManyAttributes,
    TooManyElements,
    TooMuchWork,
    UndecodablePage,
    decode,
    extract,
    extract_decoded,
    extract_reference,
    instance,
)
from tests.bounded import in_bounded_work

FORUM, TYPE = '"DiscussionForumPosting"', '"@type":['
WORDS = "Plain words stand here so that the page has a text that is worth keeping for anyone who reads it. "


def page(content: str) -> bytes:
    return f"<html><head><title>t</title></head><body><article>{content}</article></body></html>".encode()


@pytest.fixture(scope="module")
def real_pages(bundled_crawl):
    files = ["web-sample-2024/dolma-sample-0000.warc.gz", "web-sample-2024/web-sample-2024-00002.warc.gz"]
    pages = [item for name in files for item in read(bundled_crawl / name, name) if isinstance(item, Page)]
    return [(item.body, item.url) for item in pages[::3]]


def decoded_pages(path):
    """(text of the page, url) of the HTML pages of a WARC file that can be decoded."""
    for item in read(path, path.name):
        if isinstance(item, Page) and item.content_type != "text/plain":
            try:
                yield decode(item.body)[0], item.url
            except UndecodablePage:
                continue


def differing(pages):
    """URLs of pages whose text is not stock trafilatura's."""
    return [url for page, url in pages if extract_decoded(page, url) != extract_reference(page)]


def test_text_is_stock_trafilaturas_on_a_quarter_of_the_bundled_pages(bundled_crawl):
    pages = [page for path in sorted(bundled_crawl.glob("*/*.warc.gz")) for page in decoded_pages(path)]
    assert len(pages) > 400
    assert differing(pages[::4]) == []


@pytest.mark.slow
def test_text_is_stock_trafilaturas_on_all_bundled_pages(bundled_crawl):
    pages = [page for path in sorted(bundled_crawl.glob("*/*.warc.gz")) for page in decoded_pages(path)]
    assert differing(pages) == []


@pytest.mark.parametrize("name", ["webpages", "webpages-multilingual"])
def test_text_is_stock_trafilaturas_on_some_gold_pages(shared_data, name):
    assert differing(list(decoded_pages(shared_data / "pages" / f"{name}.warc.gz"))[::30]) == []


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["pages/*.warc.gz", "warc/*arc.*"])
def test_text_is_stock_trafilaturas_on_all_shared_pages(shared_data, pattern):
    pages = [page for path in sorted(shared_data.glob(pattern)) for page in decoded_pages(path)]
    assert len(pages) > 100
    assert differing(pages) == []


def test_text_does_not_depend_on_the_pages_before(real_pages):
    first = [extract(body, url) for body, url in real_pages]
    order = list(range(len(real_pages))) * 2
    random.Random(5).shuffle(order)
    assert all(extract(*real_pages[place]) == first[place] for place in order[: len(first)])


def test_same_page_many_times_keeps_its_text():
    """FineWeb's own setting loses a text that it has seen three times."""
    body = page(f"<p>{WORDS * 3}</p>")
    texts = [extract(body, "http://a.example/") for _ in range(5)]
    assert set(texts) == {(WORDS * 3).strip()}
    impure = [trafilatura.extract(body.decode(), favor_precision=True, deduplicate=True) for _ in range(5)]
    assert len(set(impure)) > 1


def test_utf8_is_tried_first_then_the_detected_charset():
    assert decode("žluťoučký kůň".encode()) == ("žluťoučký kůň", "utf-8")
    russian = "Каждый охотник желает знать, где сидит фазан. " * 5
    assert decode(russian.encode("cp1251")) == (russian, "windows-1251")
    japanese = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 3
    assert decode(japanese.encode("shift_jis"))[0] == japanese


def test_undecodable_bytes_are_a_typed_error():
    with pytest.raises(UndecodablePage):
        decode(bytes(range(128, 256)) * 3)


@pytest.mark.parametrize(
    ("error", "body"),
    [
        (PageTooLarge, b" " * (MAX_HTML_BYTES + 1)),
        (PageTooDeep, page("<div>" * (MAX_DEPTH + 1) + WORDS)),
        (PageTooDeep, page("<div>" * 100_000 + WORDS)),
        (PageTooDeep, page("<div>" * (MAX_DEPTH - 10) + "<b>x</b>" * 20_000)),
        (TooManyElements, page("<p>a" * MAX_ELEMENTS)),
        (TooManyAttributes, page(f"<p {' '.join(f'a{n}=1' for n in range(300_000))}>{WORDS}")),
        (TooMuchWork, page(("<aside></aside>" + "x" * 400) * 15_000)),
        (TooMuchWork, page("<table>" + "<tr><td colspan=100 rowspan=100>a<td>b</tr>" * 9_000)),
        (TooMuchWork, page(f"<script type=application/ld+json>{FORUM}{TYPE * 500_000}</script>")),
        (ExtractionFailed, page(f"<p>{WORDS * 5}&amp;#{'1' * 5000};</p>")),
    ],
)
def test_page_over_a_limit_is_a_typed_error(error, body):
    with pytest.raises(error, match=r"http://a\.example/"):
        extract(body, "http://a.example/")


def test_page_at_the_depth_limit_has_its_text():
    depth = MAX_DEPTH - 4  # html, body, article and the paragraph are there too
    assert WORDS.strip() in extract(page("<div>" * depth + f"<p>{WORDS * 4}"), "http://a.example/")


def test_broken_extractor_is_not_taken_for_pages_without_text(monkeypatch):
    html._extractor.cache_clear()
    broken = lambda *_: (_ for _ in ()).throw(TypeError("broken"))  # noqa: E731
    monkeypatch.setattr(instance.Extractor, "_extract_and_compare", broken)
    try:
        with pytest.raises(BrokenExtractor):
            extract(page(f"<p>{WORDS}</p>"), "http://a.example/")
    finally:
        html._extractor.cache_clear()


def test_another_trafilatura_is_refused(monkeypatch):
    html._extractor.cache_clear()
    monkeypatch.setattr(instance, "VERSION", "2.3.0")
    try:
        with pytest.raises(BrokenExtractor, match=r"2\.3\.1 is installed"):
            extract(page(f"<p>{WORDS}</p>"), "http://a.example/")
    finally:
        html._extractor.cache_clear()


def test_stock_trafilatura_is_left_alone():
    extract(page(f"<p>{WORDS}</p>"), "http://a.example/")
    private = sys.modules[f"{instance.NAME}.xpaths"]
    assert type(sys.modules["trafilatura.xpaths"].OVERALL_DISCARD_XPATH[0]).__name__ == "XPath"
    assert type(private.OVERALL_DISCARD_XPATH[0]).__name__ == "Marked"


@pytest.mark.parametrize(
    "body",
    [
        page("a" * 8_000_000),
        page("<p>" + "\n" * 8_000_000 + WORDS),
        page("<p></p>" * 250_000),
        page("<p></p>" * 39_000),
        page("<p>" + "<b>x</b> <a>y</a>, " * 19_000),
        page("<div>" * 240 + WORDS * 70_000),
        page(f"<div class='{'a menu ' * 1_000_000}'>{WORDS}</div>"),
        page("".join(f"<p class='c{i} nav-{i}' id='i{i}'>x</p>" for i in range(39_000))),
        b"<!doctype html " + b"/" * 8_000_000,
        page("<!--" * 2_000_000),
        page("<table><tr><td>" * 80 + "<b>x</b>" * 5_000),
    ],
    ids=["line", "newlines", "many", "empty", "inline", "nested", "value", "values", "doctype", "comments", "tables"],
)
def test_a_page_made_to_be_slow_ends_within_its_limits(body):
    with in_bounded_work(), suppress(ExtractionLimit):
        extract(body, "http://a.example/")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([b"<p>", b"<table><td>", b"<!--", b"&#0;&#xD800;"]))))
def test_any_bytes_give_text_or_a_typed_error(pieces):
    body = b"<html><body>" + b"".join(pieces)
    try:
        text = extract(body, "http://a.example/")
    except (UndecodablePage, ExtractionLimit):
        return
    assert text.encode("utf-8").decode("utf-8") == text
    assert extract(body, "http://a.example/") == text
