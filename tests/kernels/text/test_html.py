"""Main text of a page: a pure function of its bytes, with typed limits, and never silent about a broken extractor."""

import random

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
    ExtractionLimit,
    PageTooDeep,
    PageTooLarge,
    TooManyElements,
    UndecodablePage,
    decode,
    extract,
)

WORDS = "Plain words stand here so that the page has a text that is worth keeping for anyone who reads it. "


def page(content: str) -> bytes:
    return f"<html><head><title>t</title></head><body><article>{content}</article></body></html>".encode()


@pytest.fixture(scope="module")
def real_pages(bundled_crawl):
    files = ["web-sample-2024/dolma-sample-0000.warc.gz", "web-sample-2024/web-sample-2024-00002.warc.gz"]
    pages = [item for name in files for item in read(bundled_crawl / name, name) if isinstance(item, Page)]
    return [(item.body, item.url) for item in pages[::3]]


def test_text_is_what_trafilatura_gives_under_fineweb_settings(real_pages):
    for body, url in real_pages:
        plain = trafilatura.extract(decode(body)[0], favor_precision=True, include_comments=False, deduplicate=False)
        assert extract(body, url) == (plain or "")


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
        (TooManyElements, page("<p>a" * MAX_ELEMENTS)),
    ],
)
def test_page_over_a_limit_is_a_typed_error(error, body):
    with pytest.raises(error, match=r"http://a\.example/"):
        extract(body, "http://a.example/")


def test_page_at_the_depth_limit_has_its_text():
    depth = MAX_DEPTH - 4  # html, body, article and the paragraph are there too
    assert WORDS.strip() in extract(page("<div>" * depth + f"<p>{WORDS * 4}"), "http://a.example/")


def test_broken_extractor_is_not_taken_for_pages_without_text(monkeypatch):
    html._check_extractor.cache_clear()
    monkeypatch.setattr(trafilatura.core, "trafilatura_sequence", lambda *_: (_ for _ in ()).throw(TypeError("broken")))
    try:
        with pytest.raises(BrokenExtractor):
            extract(page(f"<p>{WORDS}</p>"), "http://a.example/")
    finally:
        html._check_extractor.cache_clear()


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
