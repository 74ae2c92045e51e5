"""The learned extractor: what it keeps of a page, that it is pure, and that no page can break or stall it."""

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.steps.warc import Page, read
from kernels.text.extractor import MAX_DEPTH, MAX_ELEMENTS, extract
from kernels.text.html import (
    MAX_HTML_BYTES,
    ExtractionLimit,
    PageTooDeep,
    PageTooLarge,
    TooManyElements,
    decode,
)
from tests.bounded import in_bounded_work

URL = "http://a.example/"
ENGLISH = (
    "The ferry leaves the harbour at six in the morning and comes back after dark, whatever the weather may be like. "
)
CHINESE = "渡船早上六点离开港口，天黑以后才回来，不管天气怎么样。船长说他已经在这条路线上工作了三十年，从来没有迟到过。"
THAI = "เรือข้ามฟากออกจากท่าเรือตอนหกโมงเช้าและกลับมาหลังจากมืด ไม่ว่าอากาศจะเป็นอย่างไร กัปตันทำงานในเส้นทางนี้"
ARABIC = "تغادر العبارة الميناء في السادسة صباحا وتعود بعد حلول الظلام، مهما كان الطقس. يقول القبطان إنه سعيد. "
MENU = "<nav class='menu'><ul>" + "".join(f"<li><a href='/{k}'>Page {k}</a></li>" for k in range(12)) + "</ul></nav>"
FOOTER = "<footer class='footer'><p><a href='/t'>Terms</a> | <a href='/p'>Privacy</a> © 2024</p></footer>"


def article(content: str, title: str = "The ferry") -> str:
    return (
        f"<html><head><title>{title}</title></head><body>{MENU}<main><article class='post-content'>"
        f"<h1>{title}</h1>{content}</article></main>{FOOTER}</body></html>"
    )


def paragraphs(text: str, number: int = 5) -> str:
    return "".join(f"<p>{text * 3}</p>" for _ in range(number))


@pytest.fixture(scope="module")
def real_pages(bundled_crawl):
    name = "web-sample-2024/dolma-sample-0000.warc.gz"
    pages = [item for item in read(bundled_crawl / name, name) if isinstance(item, Page)]
    return [(decode(item.body)[0], item.url) for item in pages]


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, THAI, ARABIC], ids=["english", "chinese", "thai", "arabic"])
def test_article_is_kept_and_navigation_is_not_in_any_script(text):
    found = extract(article(paragraphs(text)), URL)
    assert found.count(text.strip()) == 15
    assert "Page 3" not in found and "Privacy" not in found


def test_paragraphs_are_lines_of_their_own_in_the_order_of_the_page():
    content = "".join(f"<p>{k} {ENGLISH * 2}</p>" for k in range(6))
    lines = [line for line in extract(article(content), URL).splitlines() if "ferry leaves" in line]
    assert [line[0] for line in lines] == list("012345")


def test_white_space_in_code_is_kept_and_elsewhere_collapsed():
    code = "def f(x):\n    if x:\n\n        return  1"
    found = extract(
        article(f"{paragraphs(ENGLISH)}<pre><code>\n{code}\n</code></pre><p>{ENGLISH}\n  {ENGLISH}</p>"), URL
    )
    assert code in found
    assert f"{ENGLISH}{ENGLISH}".strip() in found


def test_list_items_have_a_dash_and_cells_of_a_row_stand_beside_each_other():
    items = "".join(f"<li>Pier {k}: {ENGLISH}</li>" for k in range(4))
    rows = "".join(f"<tr><td>{ENGLISH}{k}</td><td>{ENGLISH}</td></tr>" for k in range(4))
    content = f"{paragraphs(ENGLISH)}<ul>{items}</ul>{paragraphs(ENGLISH)}<table>{rows}</table>{paragraphs(ENGLISH)}"
    found = extract(article(content), URL)
    assert f"\n- Pier 2: {ENGLISH.strip()}\n" in found
    assert f"\n{ENGLISH}2 | {ENGLISH.strip()}\n" in found


def test_formulas_are_given_once_and_as_tex():
    formula = (
        "<span class='katex'><span class='katex-mathml'><math><semantics><mrow><mi>x</mi><mo>&lt;</mo><mi>y</mi></mrow>"
        '<annotation encoding="application/x-tex">x &lt; y_1</annotation></semantics></math></span>'
        "<span class='katex-html' aria-hidden='true'>x&lt;y1</span></span>"
    )
    mathjax = "<script type='math/tex'>a^2 + b^2</script>"
    found = extract(article(f"{paragraphs(ENGLISH)}<p>{ENGLISH}So {formula} and {mathjax} hold.</p>"), URL)
    assert "So $x < y_1$ and $a^2 + b^2$ hold." in found


def test_scripts_styles_and_templates_are_no_text():
    inside = "<script>var a = '<p>hidden</p>';</script><style>p { hidden: 1 }</style><template>hidden</template>"
    assert "hidden" not in extract(article(inside.join([paragraphs(ENGLISH)] * 3)), URL)


def test_text_in_noscript_is_seen():
    """Forums that run in the browser put their posts there for crawlers."""
    found = extract(
        f"<html><body><noscript><div class='post'>{paragraphs(ENGLISH)}</div></noscript></body></html>", URL
    )
    assert ENGLISH.strip() in found


@pytest.mark.parametrize("page", ["", " ", "<html></html>", "<p></p>", "<p>***</p>", "\0", "<!-- -->", "&nbsp;"])
def test_page_without_words_has_no_text(page):
    assert extract(page, URL) == ""


def test_text_depends_on_the_page_alone(real_pages):
    first = [extract(*page) for page in real_pages]
    assert sum(map(bool, first)) > len(first) / 2
    order = list(range(len(real_pages))) * 2
    random.Random(5).shuffle(order)
    assert all(extract(real_pages[place][0], "http://another.example/") == first[place] for place in order)


HOSTILE = {
    "deeper": (TooManyElements, "<div>" * 1_000_000 + ENGLISH),
    "deep": (PageTooDeep, "<div>" * 400_000 + ENGLISH),
    "deep, closed": (PageTooDeep, "<div>" * (MAX_DEPTH + 1) + ENGLISH + "</div>" * (MAX_DEPTH + 1)),
    "wide": (TooManyElements, "<p>a" * (MAX_ELEMENTS + 1)),
    "many lines": (TooManyElements, "a<br>" * (MAX_ELEMENTS + 1)),
    "large": (PageTooLarge, "a" * (MAX_HTML_BYTES + 1)),
    "formatting opened again": (TooManyElements, "".join(f"<font size={k}><p>" for k in range(4000))),
    "formatting left open": (TooManyElements, "<div>" + "".join(f"<b id={k}>" for k in range(9000)) + "</div>x" * 9000),
    "many kinds left open": (TooManyElements, "".join(f"<i id={k}>" for k in range(200)) + "<p>x" * 5000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_page_ends_soon_in_a_typed_limit(name):
    error, page = HOSTILE[name]
    with in_bounded_work(), pytest.raises(error, match=r"http://a\.example/"):
        extract(page, URL)


@pytest.mark.parametrize(
    "page",
    [
        "x" * 8_000_000,
        ENGLISH * 60_000,
        "<" * 3_000_000,
        "&" * 3_000_000,
        "<a " * 1_000_000,
        "<math>" * 400 + "<mi>" * 90,
        "<p " + "class=x " * 500_000 + ">" + ENGLISH,
        "<!--" * 500_000,
        "<script>" * 90_000 + "</script>",
        "\u200b\u00ad\ufeff" * 500_000,
        "<pre>" + "\n" * 3_000_000,
        "<b><p>" * 3 + "x<p>" * 50_000,
    ],
    ids=lambda page: page[:12],
)
def test_long_page_takes_time_in_proportion_to_its_length(page):
    with in_bounded_work(), suppress(ExtractionLimit):
        extract(page, URL)


MARKUP = st.one_of(
    st.text(max_size=30),
    st.characters(codec=None).map(str),
    st.sampled_from(
        str.split(
            "<p> </p> <table> <td> <tr> <li> <ul> <a> <a/href=x> </a> <b> </b> <math> </math> <svg> </svg> <title>"
            " </title> <head> </head> <body> <noscript> </noscript> <pre> </pre> <br> <img>"
            " <script> </script> <plaintext> <xmp> <!-- --> <!x> <?y> </ <  > &amp; &lt &#0; &#xD800; &nbsp;"
            " <select> <option> <template> <frameset>"
            ' <textarea> <annotation/encoding="application/x-tex"> </annotation> <p/style="display:none">'
            ' <i/class="aB-c"> <h1>'
        )
    ),
)


@settings(max_examples=300)
@given(st.lists(MARKUP, max_size=40))
def test_any_markup_gives_text_or_a_typed_limit(pieces):
    page = "".join(pieces)
    try:
        found = extract(page, URL)
    except ExtractionLimit:
        return
    assert found.encode().decode() == found
    assert extract(page, URL) == found


@settings(max_examples=60)
@given(st.lists(MARKUP, max_size=12), st.integers(0, 4))
def test_any_markup_inside_an_article_gives_text_or_a_typed_limit(pieces, at):
    content = [f"<p>{ENGLISH}</p>"] * 5
    content.insert(at, "".join(pieces))
    with suppress(ExtractionLimit):
        assert isinstance(extract(article("".join(content)), URL), str)
