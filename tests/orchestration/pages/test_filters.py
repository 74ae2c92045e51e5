"""Another threshold, tried: what changes sides is what the policy's own what-if says, and bad ones change nothing."""

import re
from urllib.parse import quote

import polars as pl
import pytest

from assets import policy as policies
from assets.steps.decide import annotated
from kernels.text.offending import pieces
from orchestration.pages import filter_view as view
from orchestration.pages import funnel_steps as steps
from orchestration.pages.filter_change import BadThreshold, read
from orchestration.pages.shelf import KEPT, Shelf
from orchestration.pages.weighed import weigh
from tests.orchestration.pages.test_funnel import figures

FINEWEB = policies.load("fineweb")
RULE = "/filter/line_punct_ratio"


@pytest.fixture
def rows(smoke) -> pl.DataFrame:
    return weigh(Shelf(smoke.home).rows(), None, None)[0]


@pytest.mark.parametrize(
    ("path", "settings", "removed"),
    [
        (f"{RULE}?min=0.3", ["line_punct_ratio.min=0.3"], []),
        (
            f"{RULE}?min=0.3&set=short_line_ratio.max=0.4&drop=url",
            ["line_punct_ratio.min=0.3", "short_line_ratio.max=0.4"],
            ["url"],
        ),
        (f"{RULE}?min.eng_Latn=0.5", ["eng_Latn/line_punct_ratio.min=0.5"], []),
        ("/filter/language?off=1", [], ["language"]),
        ("/filter/gopher_short_doc?min=200", ["gopher_short_doc.min=200"], []),
    ],
)
def test_what_changes_sides_is_what_the_what_if_says(pages, smoke, path, settings, removed):
    html = pages.get(path).text
    after = policies.what_if(FINEWEB, settings, removed)
    told = policies.effect(annotated(pages.app.state.site.lake()), FINEWEB, after).to_json()
    assert figures(html, "lost") == told["dropped_now"] and figures(html, "won") == told["kept_now"]
    assert figures(html, "kept-after") == told["reasons"]["kept"][1]["documents"]


def test_the_histogram_counts_every_page_that_reaches_the_rule_once(rows):
    said = steps.outcomes(rows, FINEWEB)
    for rule in FINEWEB.rules:
        if not rule.bounds():
            continue
        arrives = view.reached(said, FINEWEB, rule.rule)
        passed = view.passes(rows, FINEWEB, rule.rule)
        some, told = rows.filter(arrives), passed.filter(arrives)
        spread = view.spread(some, rule, told, FINEWEB, FINEWEB)
        assert sum(spread.kept) + sum(spread.dropped) + spread.unmeasured == some.height, rule.rule
        assert int((said == rule.rule).sum()) == int((~told).sum()), "who reaches it and fails it goes for it"
        assert len(spread.kept) == len(spread.edges) - 1
        assert all(spread.edges[0] <= mark.value for mark in spread.marks), rule.rule


def test_pages_at_the_border_are_the_nearest_and_the_same_every_time(pages, rows):
    first, again = (pages.get(f"{RULE}/samples?min=0.3").text for _ in range(2))
    assert first == again
    rule = next(one for one in FINEWEB.rules if one.rule == "line_punct_ratio").model_copy(update={"min": 0.3})
    near = view.border(rows, FINEWEB, rule, seed=0)
    assert near["distance"].is_sorted()
    ids = re.findall(r'href="/doc/([0-9a-f-]{36})', first)
    arrives = view.reached(steps.outcomes(rows, FINEWEB), FINEWEB, "line_punct_ratio")
    some = view.border(rows.filter(arrives), FINEWEB, rule, seed=0)
    below = some.filter(pl.col("line_punct_frac") < 0.3)["doc_id"].to_list()[:3]
    above = some.filter(pl.col("line_punct_frac") >= 0.3)["doc_id"].to_list()[:3]
    assert ids == [*below, *above]
    assert ids != re.findall(r'href="/doc/([0-9a-f-]{36})', pages.get(f"{RULE}/samples?min=0.3&more=2").text)


def test_the_border_of_a_language_is_where_its_own_threshold_is(rows):
    changed = policies.what_if(FINEWEB, ["eng_Latn/line_punct_ratio.min=0.7"])
    rule = next(one for one in changed.rules if one.rule == "line_punct_ratio")
    near = view.border(rows, changed, rule, seed=0)
    bound = pl.when(pl.col("language") == "eng_Latn").then(0.7).otherwise(0.12)
    told = near.with_columns((pl.col("line_punct_frac") - bound).abs().alias("told"))
    assert told.filter(pl.col("line_punct_frac").is_not_null())["told"].is_sorted()


def test_what_the_rule_counts_is_marked_with_the_reason(pages, smoke):
    html = pages.get("/filter/dup_line_frac/samples?max=0.1").text
    assert '<mark class="rule" title="line seen before">' in html
    lake = pages.app.state.site.lake()
    doc_id = re.findall(r'href="/doc/([0-9a-f-]{36})', html)[0]
    text = lake.scan("documents").filter(pl.col("doc_id") == doc_id).select("text").collect().item()
    found = pieces("dup_line_frac", text)
    assert found is not None and f"{len(found.spans)} × line seen before" in html


BAD = ["nan", "inf", "-inf", "1e999", "abc", "0x1f", "7", "-1", "1,5", "<script>", "0.5;"]


@pytest.mark.parametrize("given", BAD)
def test_a_threshold_that_is_none_is_told_and_changes_nothing(pages, given):
    for side in ("min", "min.eng_Latn"):
        answer = pages.get(f"{RULE}?{side}={quote(given)}")
        assert answer.status_code == 422 and 'data-testid="trouble"' in answer.text
        assert "<script>" not in answer.text and 'data-testid="lost"' not in answer.text
    panel = pages.get(f"{RULE}?min={quote(given)}", headers={"hx-request": "true"})
    assert panel.status_code == 200 and 'data-testid="trouble"' in panel.text, "htmx shows it in its place"


def test_a_field_left_open_changes_nothing(pages):
    for query in ("min=", "min=%20", "min=0.12", "min.eng_Latn="):
        html = pages.get(f"{RULE}?{query}").text
        assert 'data-testid="lost"' not in html and 'data-testid="trouble"' not in html


def test_a_form_that_is_sent_as_it_is_leaves_the_thresholds_of_languages_alone(pages):
    html = pages.get("/filter/language_score?policy=fineweb2&min=0.65&log=true").text
    assert 'data-testid="lost"' not in html
    changed = pages.get("/filter/language_score?policy=fineweb2&min=0.65&min.deu_Latn=0.9").text
    assert changed.count(" → ") == 1 and "(deu_Latn)" in changed


@pytest.mark.parametrize(
    "path", ["/filter/nope", "/filter/..%2f..%2fetc", "/filter/%3Cscript%3E", "/filter/url%00", "/filter/nope/samples"]
)
def test_unknown_rules_are_pages_that_say_so(pages, path):
    answer = pages.get(path)
    assert answer.status_code == 404 and "<script>" not in answer.text


@pytest.mark.parametrize(
    "query", ["set=a", "set=../x.min=1", "set=url.source=x", "drop=A B", "min.xx/yy=1&set=x", "set=%26a[*a].min=1"]
)
def test_changes_of_other_rules_that_are_none_are_told(pages, query):
    answer = pages.get(f"{RULE}?{query}")
    assert answer.status_code == 422 and 'data-testid="trouble"' in answer.text


def test_a_change_is_read_as_the_address_has_it():
    change = read(
        "r",
        [("min", "0.5"), ("max.deu_Latn", "2"), ("set", "r.min=9"), ("set", "q.max=1"), ("drop", "r"), ("drop", "z")],
    )
    assert change.settings == ("q.max=1.0", "r.min=0.5", "deu_Latn/r.max=2.0") and change.removed == ("z",)
    assert read("r", [("off", "1"), ("min", "0.5")]).settings == ()
    with pytest.raises(BadThreshold):
        read("r", [("set", f"a{i}.min=1") for i in range(300)])


def test_values_that_are_no_numbers_are_bars(pages, rows):
    html = pages.get("/filter/language?reach=all").text
    count = rows["lid176_language"].value_counts().filter(pl.col("lid176_language") == "en")["count"].item()
    assert f'<th scope="row">en</th><td class="num">{count:,}</td>' in html and "type-min" not in html
    assert pages.get("/filter/url?off=1").status_code == 200


def test_changes_are_carried_from_rule_to_rule(pages):
    html = pages.get(f"{RULE}?min=0.3").text
    assert 'href="/filter/short_line_ratio?set=line_punct_ratio.min%3D0.3"' in html
    after = pages.get("/filter/short_line_ratio?set=line_punct_ratio.min%3D0.3&max=0.5").text
    assert after.count(" → ") == 2, "both changes are listed"


def test_thresholds_of_languages_are_listed_with_their_pages(pages, rows):
    html = pages.get("/filter/language_score?policy=fineweb2").text
    assert 'name="min.deu_Latn"' in html and "language_score &gt;= 0.821" in html


def test_the_list_has_every_rule_with_what_it_takes(pages, rows):
    html = pages.get("/filter").text
    for rule in FINEWEB.rules:
        assert f'href="/filter/{rule.rule}"' in html
    assert pages.get("/filter?policy=nobody").status_code == 404
    said = steps.outcomes(rows, FINEWEB)
    assert steps.funnel(rows.with_columns(said.alias("outcome")), FINEWEB).kept.documents == int((said == KEPT).sum())


def test_pages_are_small_and_an_empty_home_says_what_to_do(pages, empty):
    assert len(pages.get(f"{RULE}?min=0.3").content) < 200_000
    assert len(pages.get("/filter/language_score?policy=fineweb2").content) < 200_000
    assert "stemma demo" in empty.get(RULE).text and "stemma demo" in empty.get("/filter").text
