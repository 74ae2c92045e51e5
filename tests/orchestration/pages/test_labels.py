"""The pages of labels: the queue asks the right page, all of it works as plain forms, nothing is labelled unseen."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest
from fastapi.testclient import TestClient

from assets.judgements.pages import known
from assets.judgements.said import Page as Judged
from assets.judgements.said import Said
from assets.judgements.store import Judgements
from assets.lake import Lake
from orchestration.pages import labelling
from tests.orchestration.pages.conftest import token_in
from tests.orchestration.pages.labels_home import write_home
from tests.orchestration.pages.shown import Element, Page, foreign
from tests.small_demo import copy_home

HX = {"hx-request": "true"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, bundled_crawl, block_list_cache) -> Path:
    return write_home(tmp_path_factory.mktemp("labels"), bundled_crawl, block_list_cache)


@pytest.fixture
def home(whole, tmp_path) -> Path:
    return copy_home(whole, tmp_path / "home")


@pytest.fixture
def client(pages_of, home) -> TestClient:
    return pages_of(home)


def look(client: TestClient, address: str = "/labels?by=Ann") -> Page:
    answer = client.get(address)
    assert answer.status_code == 200 and foreign(answer.text, "labels") == []
    return Page(answer.text)


def at(page: Page, name: str = "item") -> str:
    """doc_id of the page that is shown to be labelled."""
    [found] = [one for one in page.all("section") if one.attributes.get("data-testid") == name]
    return found.attributes["data-doc"]


def fields(page: Page, action: str) -> dict[str, str]:
    """What a form sends."""
    wanted = {"action": action, "method": "post"}
    form = next(one for one in page.all("form") if wanted.items() <= one.attributes.items())
    return {one.attributes["name"]: one.attributes.get("value", "") for one in inside(form) if one.tag == "input"}


def inside(element: Element) -> list[Element]:
    return [found for child in element.children for found in (child, *inside(child))]


def words(page: Page) -> str:
    return " ".join(page.all("main")[0].text.split())


def say(client: TestClient, address: str, label: str, **more: str) -> str:
    """Labels the page that an address shows; returns where the answer leads."""
    answer = client.post("/labels", data={**fields(look(client, address), "/labels"), "label": label, **more})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_who_labels_is_asked_first_and_remembered(client):
    assert client.get("/labels?rule=language").text.count('name="by"') == 1
    look(client, "/labels?by=Ann+B&rule=language")
    led = client.get("/labels?language=eng_Latn")
    assert led.status_code == 303 and parse_qs(urlsplit(led.headers["location"]).query) == {
        "language": ["eng_Latn"],
        "by": ["Ann B"],
    }


def test_a_name_that_is_none_is_refused(client):
    assert client.get("/labels", params={"by": "<script>"}).status_code == 422


def test_the_queue_asks_what_the_classifier_is_least_sure_of_and_goes_on_as_it_showed(client, home):
    rows = Lake(home).scan("page_quality").collect()
    expected = min(rows.iter_rows(named=True), key=lambda row: (abs(row["curated_quality"] - 0.5), row["doc_id"]))
    page = look(client)
    assert at(page) == expected["doc_id"]
    upcoming = at(page, "upcoming")
    address = say(client, "/labels?by=Ann", "good", tags="Ads, thin", note="short")
    assert at(look(client, address)) == upcoming
    [row] = Judgements(home).newest()
    assert (row["labeller"], row["doc_id"], row["label"], row["tags"], row["note"]) == (
        "Ann",
        expected["doc_id"],
        "good",
        ["ads", "thin"],
        "short",
    )
    assert at(look(client, "/labels?by=Bob")) == expected["doc_id"]  # another one is asked the same


def test_a_whole_queue_is_labelled_without_a_script_each_page_once(client, home):
    address, seen = "/labels?by=Ann", []
    while any(one.attributes.get("data-testid") == "item" for one in look(client, address).all("section")):
        seen.append(at(look(client, address)))
        address = say(client, address, "bad")
    assert len(seen) == len(set(seen)) == Lake(home).scan("documents").collect().height
    assert "Everything in this filter is labelled by Ann" in client.get(address).text


def test_skip_passes_a_page_and_the_filter_stays_in_the_address(client):
    first = look(client, "/labels?by=Ann&language=eng_Latn")
    skipped = look(client, "/labels?by=Ann&language=eng_Latn&skip=1")
    assert at(skipped) == at(first, "upcoming")
    address = say(client, "/labels?by=Ann&language=eng_Latn&skip=1", "unsure")
    assert parse_qs(urlsplit(address).query) == {"language": ["eng_Latn"], "by": ["Ann"], "skip": ["1"]}


def test_a_filter_by_rule_asks_only_pages_that_went_for_it_and_is_remembered(client, home):
    dropped = Lake(home).scan("decisions").collect().filter(verdict="dropped")
    rule = dropped["reason"][0]
    page = look(client, f"/labels?by=Ann&rule={rule}")
    assert at(page) in dropped.filter(reason=rule)["doc_id"].to_list()
    say(client, f"/labels?by=Ann&rule={rule}", "bad")
    assert Judgements(home).newest()[0]["source"] == {"reason": rule}


def test_undo_takes_back_the_last_and_the_page_comes_again(client, home):
    first = at(look(client))
    address = say(client, "/labels?by=Ann", "good")
    answer = client.post("/labels/undo", data=fields(look(client, address), "/labels/undo"))
    assert answer.status_code == 303 and Judgements(home).newest() == []
    page = look(client, answer.headers["location"])
    assert at(page) == first and "undone" in words(page)
    token = token_in(client.get("/labels?by=Ann").text)
    again = client.post("/labels/undo", data={"token": token, "by": "Ann"})
    assert again.status_code == 303  # nothing is left to undo, and the list says so


def test_all_in_a_filter_are_labelled_after_the_number_was_shown_and_undone_as_one(client, home):
    address = "/labels/bulk?by=Ann&label=bad&tags=thin&language=eng_Latn"
    page = look(client, address)
    count = int(next(one for one in page.all("b") if one.attributes.get("data-testid") == "count").text)
    assert Judgements(home).newest() == [] and 0 < count < Lake(home).scan("documents").collect().height
    answer = client.post("/labels/bulk", data=fields(page, "/labels/bulk"))
    assert answer.status_code == 303
    [batch] = Judgements(home).batches()
    assert (batch.pages, batch.label, batch.source) == (count, "bad", {"language": "eng_Latn"})
    client.post("/labels/undo", data=fields(look(client, "/labels?by=Ann"), "/labels/undo"))
    assert Judgements(home).newest() == []


def test_a_filter_that_holds_other_pages_than_were_counted_is_asked_about_again(client, home):
    sent = fields(look(client, "/labels/bulk?by=Ann&label=bad"), "/labels/bulk")
    Lake(home).delete("documents", pl.col("url").str.contains("evil"))
    answer = client.post("/labels/bulk", data=sent)
    assert answer.status_code == 200 and "changed since they were counted" in answer.text
    assert Judgements(home).newest() == []


def test_bulk_of_nothing_of_too_much_and_of_no_label_is_refused(client, monkeypatch):
    assert client.get("/labels/bulk?by=Ann&label=bad&host=nowhere.example").status_code == 422
    assert client.get("/labels/bulk?by=Ann&label=great").status_code == 422
    monkeypatch.setattr(labelling, "MOST_AT_ONCE", 3)
    assert "can be labelled at once" in client.get("/labels/bulk?by=Ann&label=bad").text


def test_a_page_that_changed_since_it_was_shown_is_not_labelled(client, home):
    sent = fields(look(client), "/labels") | {"label": "good"}
    for change in ({"content_hash": "0" * 32}, {"doc_id": "nowhere"}, {"snapshot": "nowhere"}):
        answer = client.post("/labels", data={**sent, **change})
        assert answer.status_code == 422 and "since it was shown" in answer.text
    Lake(home).delete("documents", pl.col("doc_id") == sent["doc_id"])
    assert client.post("/labels", data=sent).status_code == 422 and Judgements(home).newest() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("label", "great"), ("by", "<b>"), ("tags", "a*b"), ("note", "x" * 2001), ("query", "verdict=x")],
)
def test_fields_that_cannot_be_used_are_refused_and_nothing_is_kept(client, home, field, value):
    sent = fields(look(client), "/labels") | {"label": "good"}
    answer = client.post("/labels", data={**sent, field: value})
    assert answer.status_code == 422 and "stemma" in answer.text.lower() and Judgements(home).newest() == []


@pytest.mark.parametrize("path", ["/labels", "/labels/undo", "/labels/bulk", "/labels/retrain", "/labels/score"])
def test_no_other_site_can_label(client, home, path):
    sent = fields(look(client), "/labels") | {"label": "good", "token": "0" * 64, "digest": ""}
    assert client.post(path, data=sent).status_code == 403 and Judgements(home).newest() == []


def test_the_answer_never_leads_away_from_here(client):
    sent = fields(look(client), "/labels") | {"label": "good"}
    for query in ("//evil.example/", "q=%0d%0aSet-Cookie:x", "https://evil.example"):
        answer = client.post("/labels", data={**sent, "query": query})
        assert answer.headers["location"].startswith("/labels?") and "\n" not in answer.headers["location"]


def test_hostile_text_is_shown_and_not_run_and_cut_with_notice(client, home):
    page = look(client, "/labels?by=Ann&host=evil.org")
    text = client.get("/labels?by=Ann&host=evil.org").text
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text and "\u202e" not in text
    assert "12,000 of" in words(page)


def test_htmx_gets_the_panel_alone_and_the_address_to_show(client):
    answer = client.get("/labels?by=Ann&skip=1", headers=HX)
    assert answer.text.lstrip().startswith("<p role=") and answer.headers["hx-push-url"] == "/labels?by=Ann&skip=1"


def test_two_labellers_their_kappa_and_where_they_disagree(client, home):
    lake, store = Lake(home), Judgements(home)
    ids = sorted(lake.scan("documents").collect()["doc_id"])[:4]
    pages: list[Judged] = known(lake, ids)
    for who, said in (("Ann", ("good", "bad", "good", "bad")), ("Bob", ("good", "bad", "bad", "bad"))):
        store.add([Said(page, label) for page, label in zip(pages, said, strict=True)], who)
    page = look(client, "/labels/agreement")
    [row] = page.table("Cohen's kappa")
    assert row[0] == "Ann and Bob" and row[1:5] == ["4", "75.0%", "50.0%", "0.50"]
    [differing] = page.table("The first 1 pages")
    assert differing[1:] == ["good", "bad"] and ids[2] in client.get("/labels/agreement").text


def test_without_labels_agreement_says_where_to_begin(client):
    assert "Nobody has labelled a page yet" in words(look(client, "/labels/agreement"))


def test_the_classifier_shows_precision_and_recall_by_threshold_as_a_chart_and_a_table(client):
    page = Page(client.get("/labels/classifier").text)
    table = page.table("Of texts that the weights were not fitted to")
    assert ["0.50", "0.807", "0.809"] in table and "fewer than 20" in words(page) and page.all("svg")


def test_training_needs_a_running_dagster_and_says_so(client):
    token = token_in(client.get("/labels/classifier").text)
    answer = client.post("/labels/retrain", data={"token": token})
    assert answer.status_code == 503 and "make ui" in answer.text


def test_a_home_without_pages_says_what_makes_some(empty):
    answer = empty.get("/labels?by=Ann")
    assert "stemma demo" in answer.text and answer.status_code == 200
    assert "stemma demo" in empty.get("/labels/classifier").text
