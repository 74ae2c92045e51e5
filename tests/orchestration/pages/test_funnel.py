"""The funnel adds up for every slice and policy, says what it does not know, and answers for bad addresses."""

import re
import shutil
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets import policy as policies
from assets.lake import Lake
from orchestration.pages import funnel_steps as steps
from orchestration.pages.shelf import KEPT, OUTCOME, Shelf
from orchestration.pages.weighed import CORPUS_BYTES, EXACT, TOKENS, Part, weigh
from tests.small_demo import copy_home

FINEWEB = policies.load("fineweb")


def figures(html: str, test_id: str) -> int:
    found = re.search(rf'data-testid="{test_id}"[^>]*>([\d,]+)<', html)
    assert found, test_id
    return int(found[1].replace(",", ""))


def table(html: str) -> list[tuple[str, int]]:
    """(rule, documents taken) of the funnel's rows."""
    body = html.split('data-testid="funnel"')[1].split("</table>")[0]
    rows = re.findall(r'<th scope="row"><a href="[^"]*">([a-z0-9_]+)</a>.*?<td class="num">([\d,]*)</td>', body, re.S)
    return [(name, int(count.replace(",", "") or 0)) for name, count in rows]


@pytest.fixture
def shelf(pages, smoke) -> pl.DataFrame:
    return Shelf(smoke.home).rows()


def test_every_page_is_kept_or_dropped_by_one_rule_and_the_page_says_so(pages, shelf):
    html = pages.get("/").text
    taken = dict(table(html))
    said = shelf[OUTCOME].value_counts()
    assert {name: n for name, n in taken.items() if n and name != "corpus"} == {
        name: n for name, n in said.iter_rows() if name != KEPT
    }
    assert figures(html, "kept") == int((shelf[OUTCOME] == KEPT).sum())
    assert f"✓ {shelf.height:,} pages = " in html and "✗" not in html
    order = [name for name in taken if name in FINEWEB.reasons]
    assert order == FINEWEB.reasons, "every rule stands there, in its order, also one that took nothing"


def test_records_that_were_no_page_are_counted_above(pages, smoke):
    html = pages.get("/").text
    counts = Lake(smoke.home).scan("record_counts").select(pl.col("records").sum()).collect().item()
    assert f"✓ {counts:,} records = " in html and "skipped: request" in html
    assert "Records</h2>" not in pages.get("/?language=eng_Latn").text, "a record has no language"


def test_a_slice_is_of_its_pages_alone(pages, shelf):
    for parameter, column in (
        ("snapshot", "snapshot"),
        ("language", "language"),
        ("host", "host"),
        ("source", "warc_path"),
    ):
        value = shelf[column].drop_nulls().value_counts(sort=True)[column][0]
        html = pages.get("/", params={parameter: value}).text
        mine = shelf.filter(pl.col(column) == value)
        assert f"{mine.height:,} pages = {int((mine[OUTCOME] == KEPT).sum()):,} kept" in html, parameter


def test_breakdowns_add_up_and_narrow(pages, shelf):
    for by in ("language", "host", "source", "snapshot"):
        html = pages.get("/", params={"by": by}).text
        assert f'aria-current="true">{by}<' in html
    groups = steps.by(weigh(shelf, None, None)[0], "host")
    assert groups["pages"].sum() == shelf.height and groups["kept"].sum() == int((shelf[OUTCOME] == KEPT).sum())


def test_another_policy_is_a_what_if_over_the_same_rows(pages, shelf):
    html = pages.get("/?policy=strict").text
    said = steps.outcomes(weigh(shelf, None, None)[0], policies.load("strict"))
    assert figures(html, "kept") == int((said == KEPT).sum()) < int((shelf[OUTCOME] == KEPT).sum())
    assert "What if" in html and "Duplicates are not looked for" in html
    assert "What if" not in pages.get("/?policy=fineweb@1").text


def test_tokens_are_exact_for_pages_in_the_shards_and_marked_as_estimates_elsewhere(pages, smoke):
    lake = Lake(smoke.home)
    spans = pl.read_parquet(sorted(lake.open_dir("token_shards").glob("*.spans.parquet")))
    html = pages.get("/").text
    kept = re.search(r'<b class="kept">([≈\d,–]+)</b><span>tokens kept', html)
    assert kept and kept[1] == f"{spans['length'].sum():,}", "all that is kept is in the shards: no estimate"
    assert "≈" in html and "bytes a token" in html


def test_without_shards_tokens_are_a_dash_with_the_reason(pages_of, smoke, tmp_path):
    home = tmp_path / "home"
    copy_home(smoke.home, home)
    shutil.rmtree(home / "artifacts" / "token_shards")
    html = pages_of(home).get("/").text
    assert "–</b><span>tokens kept: no token shards were made yet" in html and "≈" not in html


def test_links_of_rules_keep_the_slice_and_controls_are_in_the_address(pages, shelf):
    language = shelf["language"].drop_nulls()[0]
    html = pages.get("/", params={"language": language, "policy": "strict", "by": "host", "bar": "bytes"}).text
    assert f'href="/filter/quality?language={language}&amp;policy=strict"' in html
    assert "<option selected>bytes</option>" in html


BAD = [
    "policy=../../etc/passwd",
    "policy=nobody",
    "policy=a.yaml",
    "snapshot=nope",
    "language=xx",
    "host=%00",
    "source=x",
]


@pytest.mark.parametrize("query", BAD)
def test_unknown_things_are_pages_that_say_so(pages, query):
    answer = pages.get(f"/?{query}")
    assert answer.status_code == 404 and "<h1>Not found</h1>" in answer.text


@pytest.mark.parametrize("query", ["page=0", "page=x", "by=colour", "bar=1", "page=99999999999999999999"])
def test_unusable_parameters_are_no_stack_trace(pages, query):
    answer = pages.get(f"/?{query}")
    assert answer.status_code == 422 and "Traceback" not in answer.text


def test_an_empty_home_says_which_command_makes_something(empty):
    answer = empty.get("/")
    assert answer.status_code == 200 and "stemma demo" in answer.text


def test_names_that_strangers_gave_are_shown_and_do_nothing(pages_of, smoke):
    client = pages_of(smoke.home)
    shelf, evil = client.app.state.site.shelf, '"><script>alert(1)</script>\u202e'
    shelved = shelf.look()
    shelf._shelved = replace(shelved, frame=shelved.frame.with_columns(pl.lit(evil).alias("host")))
    html = client.get("/?by=host").text
    assert "<script>alert" not in html and "\\u202e" in html and "\u202e" not in html
    assert client.get("/", params={"host": evil}).status_code == 200


def test_a_partial_answer_is_the_panel_alone(pages):
    whole, panel = pages.get("/").text, pages.get("/", headers={"hx-request": "true"}).text
    assert "<html" in whole and "<html" not in panel and 'data-testid="funnel"' in panel
    assert len(whole.encode()) < 200_000


@given(st.data())
def test_any_outcomes_close(data):
    names = [KEPT, "undecided", "exact_duplicate", "url", "language", "of_nobody"]
    outcome = data.draw(st.lists(st.sampled_from(names), max_size=30))
    known = data.draw(st.booleans())
    rows = pl.DataFrame(
        {
            OUTCOME: outcome,
            "n_bytes": [data.draw(st.integers(0, 10**6)) for _ in outcome],
            TOKENS: [float(i) if known else None for i in range(len(outcome))],
            EXACT: [data.draw(st.booleans()) for _ in outcome],
        },
        schema={OUTCOME: pl.String, "n_bytes": pl.Int64, TOKENS: pl.Float64, EXACT: pl.Boolean},
    )
    found = steps.funnel(rows, FINEWEB)
    assert found.closes and found.pages.documents == len(outcome)
    left = found.steps[-1].left
    assert left.documents == found.kept.documents + found.undecided.documents
    assert left.bytes == found.kept.bytes + found.undecided.bytes
    if known and outcome:
        assert left.tokens == (found.kept.tokens or 0) + (found.undecided.tokens or 0)


def test_tokens_outside_the_shards_follow_from_bytes_a_token_inside():
    rows = pl.DataFrame({"doc_id": ["a", "b", "c"], "snapshot": ["s"] * 3, "n_bytes": [100, 300, 50]})
    spans = pl.DataFrame({"doc_id": ["a", "b", "b"], "length": [20, 80, 80]})
    corpus = pl.DataFrame({"doc_id": ["a"], "snapshot": ["s"], "text_bytes": [90]})
    found, per_token, measured = weigh(rows, spans, corpus)
    assert (per_token, measured) == (4.0, 2)
    assert found[TOKENS].to_list() == [20.0, 80.0, 12.0] and found[EXACT].to_list() == [True, True, False]
    assert found[CORPUS_BYTES].to_list() == [90, None, None]


def test_a_part_takes_empty_fields_for_open_ones():
    assert Part("", "", "", "") == Part()
