"""Labelling with keys in a browser, with and without its script: what is pressed is what is kept, and nothing else."""

from pathlib import Path

import pytest

from assets.judgements.pages import find
from assets.judgements.said import Said
from assets.judgements.store import Judgements
from assets.lake import Lake
from tests.browser.conftest import npm_file
from tests.browser.test_accessibility import LOOKS, RUN_AXE, SERIOUS, WIDER, told
from tests.orchestration.pages.labels_home import write_home


@pytest.fixture(scope="module")
def home(tmp_path_factory, bundled_crawl, block_list_cache) -> Path:
    return write_home(tmp_path_factory.mktemp("labelling"), bundled_crawl, block_list_cache)


@pytest.fixture(scope="module")
def address(serve, home) -> str:
    return serve(home)


def shown(tab) -> str:
    return tab.get_by_test_id("item").get_attribute("data-doc")


def press(tab, key: str) -> None:
    """Presses a key that leads to another page."""
    before = shown(tab)
    tab.keyboard.press(key)
    tab.wait_for_function("id => document.querySelector('[data-testid=item]').dataset.doc !== id", arg=before)


def said(home: Path, who: str) -> dict[str, str]:
    return {row["doc_id"]: row["label"] for row in Judgements(home).newest() if row["labeller"] == who}


def test_keys_label_skip_and_undo(tab, address, home):
    tab.goto(f"{address}/labels?by=Ann")
    expected = {}
    for key, label in (("g", "good"), ("b", "bad"), ("u", "unsure")):
        expected[shown(tab)] = label
        press(tab, key)
    assert said(home, "Ann") == expected
    skipped = shown(tab)
    press(tab, "s")
    assert "skip=1" in tab.url and skipped not in said(home, "Ann")
    last = shown(tab)
    press(tab, "g")
    assert said(home, "Ann")[last] == "good"
    tab.keyboard.press("z")
    tab.get_by_text("undone", exact=True).wait_for()
    assert said(home, "Ann") == expected


def test_who_writes_tags_labels_nothing_until_they_leave_the_field(tab, address, home):
    tab.goto(f"{address}/labels?by=Tagger")
    doc_id = shown(tab)
    tab.keyboard.press("t")
    tab.keyboard.type("bug big")
    assert tab.locator("main section input[name=tags]").input_value() == "bug big" and said(home, "Tagger") == {}
    tab.keyboard.press("Escape")
    press(tab, "b")
    [row] = [row for row in Judgements(home).newest() if row["labeller"] == "Tagger"]
    assert (row["doc_id"], row["label"], row["tags"]) == (doc_id, "bad", ["big", "bug"])
    tab.keyboard.press("?")
    assert tab.get_by_text("Pages come that the classifier is least sure of").is_visible()


def test_the_next_page_is_there_before_the_answer_comes(tab, address):
    tab.goto(f"{address}/labels?by=Waiter")
    upcoming = tab.get_by_test_id("upcoming").get_attribute("data-doc")
    waiting = []
    tab.route("**/labels", lambda route: waiting.append(route))
    tab.keyboard.press("g")
    tab.get_by_test_id("upcoming").wait_for(state="visible")
    assert tab.get_by_test_id("item").is_hidden()
    tab.keyboard.press("g")  # the page on show has no label yet, and none is sent twice
    tab.wait_for_function("() => document.querySelector('[data-testid=item] button').disabled")
    assert len(waiting) == 1
    waiting[0].continue_()
    tab.wait_for_function("id => document.querySelector('[data-testid=item]').dataset.doc === id", arg=upcoming)
    assert tab.get_by_test_id("item").is_visible()


def test_labelling_all_in_a_filter_says_how_many_and_is_undone_as_one(tab, address, home):
    tab.goto(f"{address}/labels?by=Bulk&language=eng_Latn")
    tab.get_by_role("button", name="Label all in this filter").click()
    count = int(tab.get_by_test_id("count").inner_text())
    tab.get_by_role("button", name=f"Label {count} pages bad").click()
    tab.wait_for_url("**/labels?**")
    assert len(said(home, "Bulk")) == count > 1
    tab.get_by_role("button", name="Undo bad").click()
    tab.get_by_text("undone", exact=True).wait_for()
    assert said(home, "Bulk") == {}


def test_all_of_it_works_without_a_script(chromium, address, home):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/labels")
    page.fill("main input[name=by]", "Plain")
    page.get_by_role("button", name="Begin").click()
    doc_id = page.get_by_test_id("item").get_attribute("data-doc")
    page.get_by_role("button", name="Good").click()
    assert page.get_by_test_id("item").get_attribute("data-doc") != doc_id and said(home, "Plain") == {doc_id: "good"}
    page.get_by_role("button", name="Undo").click()
    assert said(home, "Plain") == {} and page.get_by_test_id("item").get_attribute("data-doc") == doc_id
    context.close()


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_serious_fault_on_any_page_of_labels(chromium, address, home, look):
    scheme, width = LOOKS[look]
    store = Judgements(home)
    pages = find(Lake(home), Lake(home).scan("documents").collect()["doc_id"])
    for who, label in (("Ann", "good"), ("Bob", "bad")):
        store.add([Said(page, label) for page in pages.values()], who)
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True)
    page, axe = context.new_page(), npm_file("axe-core/axe.min.js").read_text()
    faults: list[str] = []
    paths = ["?by=Axe", "?by=Ann", "/agreement", "/classifier", "/bulk?by=Axe&label=bad"]
    for path in [f"/labels{one}" for one in paths]:
        page.goto(address + path)
        page.evaluate(axe)
        faults += [f"{path}: {told(one)}" for one in page.evaluate(RUN_AXE)["violations"] if one["impact"] in SERIOUS]
        if page.evaluate(WIDER) > 0:
            faults.append(f"{path}: wider than a window of {width}")
    context.close()
    assert faults == []
