"""`/search`: counts are of the tables, found words are marked and escaped, every control is in the address."""

import html
import json
import re
from urllib.parse import parse_qsl, urlencode, urlsplit

import polars as pl
import pytest

from assets.lake import Lake
from assets.searching import index
from assets.searching.slices import slice_of
from assets.searching.words import words
from orchestration.pages.search import PAGE
from tests.small_demo import copy_home


def total(answer) -> int:
    found = re.search(r'data-testid="total">([\d,]+)<', answer.text)
    assert answer.status_code == 200 and found, answer.text[:2000]
    return int(found[1].replace(",", ""))


def ids(text: str) -> list[str]:
    return re.findall(r'href="/doc/([^?"]+)\?snapshot=', text)


def rows_of(home) -> pl.DataFrame:
    lake = Lake(home)
    documents = lake.scan("documents").select("doc_id", "text", "host")
    return documents.join(lake.scan("annotations").drop("snapshot", "shard"), on="doc_id").collect()


def test_all_pages_are_counted_and_those_with_a_word_are_found(pages, smoke):
    rows = rows_of(smoke.home)
    assert total(pages.get("/search")) == rows.height
    have = {key for key, text in rows.select("doc_id", "text").iter_rows() if "about" in words(text)}
    first, found = pages.get("/search", params={"q": "about"}), []
    assert total(first) == len(have)
    for number in range(1, 1 + -(-len(have) // PAGE)):
        found += ids(pages.get("/search", params={"q": "about", "page": number}).text)
    assert sorted(found) == sorted(have)
    marked = [html.unescape(one) for one in re.findall(r"<mark>([^<]*)</mark>", first.text)]
    assert len(marked) >= PAGE and {words(one)[0] for one in marked} == {"about"}


def test_facets_lead_to_slices_with_as_many_pages_as_they_say(pages):
    text = pages.get("/search", params={"q": "the"}).text
    seen = 0
    for name in ("verdict", "reason", "language", "snapshot"):
        table = text.split(f'data-testid="facet-{name}"')[1].split("</table>")[0]
        for link, n in re.findall(r'<a href="([^"]+)"[^>]*>.*?<td class="num">([\d,]+)</td>', table, re.S)[:4]:
            assert total(pages.get(html.unescape(link))) == int(n.replace(",", ""))
            seen += 1
    assert seen > 5


def test_scores_and_order_are_in_the_address(pages, smoke):
    asked = {"column": "n_words", "from": "20", "to": "200", "sort": "n_words", "order": "asc", "verdict": "dropped"}
    answer = pages.get("/search", params=asked)
    rows = rows_of(smoke.home).filter(pl.col("n_words").is_between(20, 200))
    found = {row["doc_id"]: row["n_words"] for row in rows.to_dicts()}
    shown = [found[one] for one in ids(answer.text)]
    assert shown == sorted(shown) and len(shown) > 3
    (link,) = re.findall(r'href="(/labels\?[^"]+)"', answer.text)
    assert slice_of(parse_qsl(urlsplit(html.unescape(link)).query, keep_blank_values=True)) == slice_of(asked.items())


def test_what_a_form_sends_becomes_an_address_without_its_empty_fields(pages):
    sent = [("q", "a b"), ("host", ""), ("language", ""), ("column", ""), ("from", ""), ("to", ""), ("verdict", "kept")]
    answer = pages.get(f"/search?{urlencode(sent)}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/search?q=a+b&verdict=kept")
    bounded = [("column", "n_words"), ("from", "5"), ("to", "")]
    again = pages.get(f"/search?{urlencode([*sent, *bounded])}").headers["location"]
    assert pages.get(again).status_code == 200


def test_htmx_gets_the_panel_alone_and_the_address_to_show(pages):
    answer = pages.get("/search?q=the&host=", headers={"hx-request": "true"})
    assert answer.headers["hx-push-url"] == "/search?q=the" and "<html" not in answer.text and total(answer) > 0
    refused = pages.get('/search?q="a', headers={"hx-request": "true"})
    assert refused.status_code == 200 and "is not closed" in refused.text
    unusable = "/search?column=n_wordz&from=1&to=2"
    assert pages.get(unusable, headers={"hx-request": "true"}).headers["hx-redirect"] == unusable


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_download_is_the_whole_slice_without_text(pages, form):
    asked = {"q": "the", "column": "n_words", "from": "50", "to": ""}
    answer = pages.get(f"/search.{form}", params=asked)
    lines = answer.text.splitlines()
    rows = [json.loads(line) for line in lines] if form == "jsonl" else lines[1:]
    assert (
        len(rows) == total(pages.get("/search", params=asked)) and "attachment" in answer.headers["content-disposition"]
    )
    names = list(rows[0]) if form == "jsonl" else lines[0].split(",")
    wanted = ["doc_id", "snapshot", "language", "outcome", "score", "threshold", "n_words", "relevance"]
    assert names == wanted


HOSTILE = [
    '"' * 501,
    "x" * 10_000,
    '<script>alert(1)</script>"><img src=x onerror=alert(1)>',
    "a\x00b\x1b[31m\u202ec",
    "(a+)+$ .* [^x]{1,999999}",
    "OR OR OR",
    "host:",
    "' OR 1=1 --",
    "{{7*7}}${7*7}<%= 7*7 %>",
]


@pytest.mark.parametrize("typed", HOSTILE)
def test_hostile_queries_are_answered_with_a_reason_or_with_results(pages, typed):
    answer = pages.get("/search", params={"q": typed})
    assert answer.status_code in (200, 422) and len(answer.content) < 200_000
    assert "<script>alert" not in answer.text and "<img src=x" not in answer.text and "49" not in answer.text[:300]
    if answer.status_code == 422:
        assert 'role="alert"' in answer.text


@pytest.mark.parametrize(
    "address",
    ["/search?column=n_wordz&from=1&to=2", "/search?column=n_words&from=1", "/search?verdict=maybe", "/search?page=0",
     "/search?page=x", "/search?sort=text", "/search?column=n_words&from=one&to="],
)  # fmt: skip
def test_conditions_that_cannot_be_used_are_told(pages, address):
    answer = pages.get(address)
    assert answer.status_code == 422 and "Traceback" not in answer.text


def test_a_page_behind_the_last_is_the_last(pages):
    assert ids(pages.get("/search?q=the&page=9999").text)


def test_crawled_text_and_addresses_are_escaped(pages_of, smoke, tmp_path):
    home = copy_home(smoke.home, tmp_path / "home")
    lake = Lake(home)
    attack = '"> needleword <script>alert(1)</script> <img src=x onerror=alert(1)> \u202e &lt;b&gt;'
    rows = lake.scan("documents").collect()
    first = pl.int_range(pl.len()) == 0
    spoilt = rows.with_columns(
        pl.when(first).then(pl.lit(attack)).otherwise("text").alias("text"),
        pl.when(first).then(pl.lit("javascript:alert(1)//<b>\u202e")).otherwise("url").alias("url"),
        pl.when(first).then(pl.lit("<i>host</i>")).otherwise("host").alias("host"),
    )
    lake.write("documents", spoilt, replace={})
    for snapshot in rows["snapshot"].unique():
        index.make(lake, snapshot)
    text = pages_of(home).get("/search", params={"q": "needleword"}).text
    assert "<mark>needleword</mark>" in text and "&lt;script&gt;" in text and "&amp;lt;b&amp;gt;" in text
    assert not re.search(r"<script>alert|<img src=x|<i>host|href=\"javascript:|\u202e", text)


def test_without_an_index_all_but_words_works_and_the_page_says_what_makes_it(pages_of, smoke, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for name in ("lake", "home.json"):
        (home / name).symlink_to(smoke.home / name)
    client = pages_of(home)
    answer = client.get("/search", params={"q": "the", "verdict": "kept"})
    assert (
        answer.status_code == 200 and "stemma nightly" in answer.text and 'href="/search?verdict=kept"' in answer.text
    )
    assert total(client.get("/search?verdict=kept")) > 0


def test_a_home_without_anything_says_what_makes_it(empty):
    for address in ("/search", "/search?q=a", "/search.csv"):
        answer = empty.get(address)
        assert answer.status_code == 200 and "stemma demo" in answer.text
