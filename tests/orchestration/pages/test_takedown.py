"""The ledger as a page: a request would reach what reach says, nothing is lost, and what applying did is told."""

import json
import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from assets.lake import Lake
from assets.reach import reach
from assets.steps.ledger import FOUND, REPORT, Ledger
from assets.steps.scopes import scope
from assets.takedowns import apply
from orchestration.home import prepare
from orchestration.pages import reaches, takedown_ledger
from orchestration.pages.app import build
from orchestration.pages.settings import PageSettings
from tests.assets.conftest import HereEngine
from tests.assets.takedown_crawl import SNAPSHOT
from tests.assets.takedown_home import RULES, add_made_data, ask, write_home
from tests.browser.conftest import OURS
from tests.orchestration.pages.conftest import token_in
from tests.orchestration.pages.serving import dagster_of, free_port
from tests.orchestration.pages.shown import Page, foreign
from tests.small_demo import copy_home

HX = {"hx-request": "true"}
PATIENCE_S = 120


@pytest.fixture(scope="module")
def whole(tmp_path_factory, bundled_crawl, block_list_cache):
    """(home, crawl root, pages of its files): tables, shards, models, data made of pages."""
    root, home = tmp_path_factory.mktemp("crawl"), tmp_path_factory.mktemp("whole") / "home"
    files = write_home(home, root, tmp_path_factory.mktemp("programs"), bundled_crawl, block_list_cache, HereEngine())
    add_made_data(home, tmp_path_factory.mktemp("made"), files[0][:3])
    prepare(home)
    return home, root, files


@pytest.fixture
def home(whole, tmp_path) -> Path:
    return copy_home(whole[0], tmp_path / "home")


@pytest.fixture
def client(pages_of, home, whole) -> TestClient:
    return pages_of(home, STEMMA_CRAWL=str(whole[1]))


def send(client: TestClient, path: str, **fields: object):
    """A form of ours, sent as a browser sends it."""
    return client.post(path, data={"token": token_in(client.get("/takedown").text), **fields})


def finished(client: TestClient, address: str) -> Page:
    """The panel of an address when its report is done."""
    asked = client.get(address, headers=HX)
    wanted = reaches.of(client.app.state.site)  # type: ignore[attr-defined]
    for report in list(wanted._reports.values()):
        if report.made is not None:
            report.made.result(PATIENCE_S)
    asked = client.get(address, headers=HX)
    assert asked.status_code == 200
    return Page(asked.text)


# ---- looking ----


@pytest.mark.parametrize("kind", ["url", "host", "doc"])
def test_what_a_request_would_reach_is_what_reach_says(client, home, whole, kind):
    page = whole[2][0][0]
    value = {"url": page.url, "host": page.url.split("/")[2], "doc": page.doc_id}[kind]
    shown = client.get("/takedown", params={kind: value})
    assert shown.status_code == 200 and foreign(shown.text, "takedown") == []
    panel = finished(client, f"/takedown?{kind}={value}")
    found = reach(Lake(home), scope("document" if kind == "doc" else kind, value))
    table = panel.table("Held by")
    assert len(table) == len(found.holdings)
    assert [int(cells[3]) for cells in table] == [one.documents for one in found.holdings]
    assert {"sft_dataset", "base_model", "token_shards"} <= {cells[0].split()[0] for cells in table}
    boxes = [one.attributes["value"] for one in panel.all("input") if one.attributes["name"] == "near"]
    assert boxes == found.near["doc_id"].to_list() and len(boxes) == 2


def test_a_scope_that_is_none_is_refused_with_what_to_do(client, home):
    for kind, value in (("host", "com"), ("document", "x"), ("url", "a b"), ("nonsense", "x"), ("text", "0" * 32)):
        answer = client.get("/takedown", params={"kind": kind, "value": value})
        assert answer.status_code == 422 and Page(answer.text).all("form")
        posted = send(client, "/takedown", kind=kind, value=value, by="Ann", why="hers")
        assert posted.status_code == 422
    assert Ledger(home).entries() == []


def test_a_text_is_looked_at_and_never_stands_in_an_address(client, home, whole):
    text = whole[2][0][0].text
    answer = send(client, "/takedown/text", text=text)
    address = answer.headers["location"]
    assert answer.status_code == 303 and text[:20] not in address and len(address) < 120
    panel = finished(client, address.partition("#")[0])
    assert "3 pages are covered" in " ".join(panel.all("div")[0].text.split())
    kept = send(client, "/takedown", kind="text", value=scope("text", text).value, by="Ann", why="hers")
    assert kept.status_code == 303
    assert Ledger(home).entry(1).scope == scope("text", text)
    assert text[:40] not in json.dumps(Ledger(home).entry(1).to_json())


# ---- writing down ----


def test_a_request_and_what_is_near_it_come_into_the_ledger_once(client, home, whole):
    first, near = whole[2][0][0], [whole[2][1][0].doc_id, whole[2][1][1].doc_id]
    fields = {
        "kind": "document",
        "value": first.doc_id,
        "by": "Ann <ann@example.org>",
        "why": "it is hers",
        "near": near,
    }
    answer = send(client, "/takedown", **fields)
    assert answer.status_code == 303
    entries = Ledger(home).entries()
    assert [one.scope.value for one in entries] == [first.doc_id, *near]
    assert {(one.by, one.why) for one in entries} == {("Ann <ann@example.org>", "it is hers")}
    page = client.get(answer.headers["location"].partition("#")[0])
    assert page.text.count("is in the ledger:") == 3 and foreign(page.text, "takedown") == []
    again = send(client, "/takedown", **fields)
    assert client.get(again.headers["location"].partition("#")[0]).text.count("was there already:") == 3
    assert len(Ledger(home).entries()) == 3


def test_nothing_is_written_without_a_token_a_name_or_a_reason(client, home, whole):
    fields = {"kind": "document", "value": whole[2][0][0].doc_id, "by": "Ann", "why": "hers"}
    assert client.post("/takedown", data=fields).status_code == 403
    assert client.post("/takedown/apply").status_code == 403
    for lacking in ("by", "why"):
        answer = send(client, "/takedown", **{**fields, lacking: "  "})
        assert answer.status_code == 422 and "must be given" in answer.text and "--by" not in answer.text
        assert whole[2][0][0].doc_id in answer.text, "what was filled in is still there"
    assert Ledger(home).entries() == []


def test_two_people_who_ask_at_once_both_stand_in_the_ledger(client, home):
    token = token_in(client.get("/takedown").text)
    start, answers = threading.Barrier(8), []

    def one(number: int) -> None:
        own = TestClient(client.app, cookies=client.cookies, follow_redirects=False)
        start.wait()
        fields = {"kind": "host", "value": f"site{number}.example.org", "by": f"person {number}", "why": "hers"}
        answers.append(own.post("/takedown", data={"token": token, **fields}).status_code)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [303] * 8
    entries = Ledger(home).entries()
    assert {one.scope.value for one in entries} == {f"site{number}.example.org" for number in range(8)}
    assert [one.number for one in entries] == list(range(1, 9))
    table = Page(client.get("/takedown").text).table("8 requests")
    assert [cells[0] for cells in table] == [str(number) for number in range(8, 0, -1)]


def test_hostile_names_reasons_and_addresses_are_shown_safely(client, home):
    for string in OURS:
        Ledger(home).add(scope("url", "https://x.example/?" + string.replace(" ", "+")), string, f"\u202e{string}")
    pages = [client.get("/takedown"), *(client.get(f"/takedown/{number}") for number in range(1, len(OURS) + 1))]
    pages += [client.get("/takedown", params={"by": one, "why": one, "value": one, "kind": "url"}) for one in OURS]
    for page in pages:
        assert foreign(page.text, "takedown") == []


def test_a_long_ledger_is_shown_in_parts(client, home):
    for number in range(120):
        Ledger(home).add(scope("host", f"h{number}.example.org"), "Ann", "hers")
    page, seen = client.get("/takedown"), []
    while True:
        shown = Page(page.text)
        seen += [int(cells[0]) for cells in shown.table("120 requests")]
        older = [one.attributes["href"] for one in shown.all("a") if one.text == "Older requests"]
        if not older:
            break
        page = client.get(older[0].partition("#")[0])
    assert seen == list(range(120, 0, -1))


# ---- applying ----


def test_what_applying_did_is_on_the_requests_page(client, home, whole):
    page = whole[2][0][0]
    ask(home, "document", page.doc_id)
    assert "is not applied yet" in client.get("/takedown/1").text
    assert "takedown 1 asks for it" in client.get(f"/doc/{page.doc_id}").text
    (report,) = apply(Lake(home), HereEngine(), RULES)
    answer = client.get("/takedown/1")
    assert foreign(answer.text, "takedown") == []
    shown = Page(answer.text)
    assert {cells[0]: int(cells[1]) for cells in shown.table("Documents whose rows went")} == report["deleted"]
    digests = {(cells[0], cells[2], cells[3]) for cells in shown.table("Data versions")}
    assert digests == {(one["asset"], one["before"][:12], one["after"][:12] or "gone") for one in report["digests"]}
    marked = {cells[1] for cells in shown.table("Outdated because of it")}
    assert {one["version"][:12] for one in report["marked"]} <= marked and report["marked"]
    assert [cells[0] for cells in shown.table("1 page")] == [page.doc_id]
    near = [one for one in shown.all("a") if one.attributes["href"].startswith("/takedown?doc=")]
    assert len(near) == len(report["near"]) == 2
    gone = client.get(f"/doc/{page.doc_id}")
    assert gone.status_code == 404 and "takedown 1" in gone.text
    assert Page(client.get("/takedown").text).table("1 request")[0][1] == "applied"


def test_an_interrupted_apply_is_told(client, home, whole):
    ask(home, "document", whole[2][0][0].doc_id)
    Ledger(home).write(1, FOUND, {"pages": [], "held_by": [], "near": []})
    assert "was interrupted" in client.get("/takedown/1").text
    assert Ledger(home).read(1, REPORT) is None


def test_without_dagster_the_page_says_which_command_applies_it(home, whole, monkeypatch):
    monkeypatch.setenv("STEMMA_HOME", str(home))
    settings = PageSettings(home, dagster=f"http://127.0.0.1:{free_port()}")
    client = TestClient(build(settings), follow_redirects=False)
    ask(home, "document", whole[2][0][0].doc_id)
    answer = send(client, "/takedown/apply")
    assert answer.status_code == 503
    assert "stemma takedown apply" in answer.text and "Dagster does not answer" in answer.text
    assert Ledger(home).status(1) == "asked"
    assert "Dagster does not answer" in client.get("/takedown?run=00000000-0000-0000-0000-000000000000").text


@pytest.mark.slow
def test_applying_is_a_run_whose_report_is_then_on_the_page(home, whole, tmp_path, monkeypatch):
    import time

    monkeypatch.setenv("STEMMA_HOME", str(home))
    page = whole[2][0][0]
    ask(home, "document", page.doc_id)
    settings = {"STEMMA_CRAWL": str(whole[1]), "STEMMA_RECIPE": "smoke"}
    with dagster_of(home, settings, tmp_path / "dagster.log", sensors=False) as address:
        client = TestClient(build(PageSettings(home, dagster=address)), follow_redirects=False)
        answer = send(client, "/takedown/apply")
        assert answer.status_code == 303, answer.text
        place = answer.headers["location"].partition("#")[0]
        deadline = time.monotonic() + 600
        while "success" not in (shown := client.get(place).text):
            assert time.monotonic() < deadline and "failed" not in shown, (tmp_path / "dagster.log").read_text()[-3000:]
            time.sleep(1)
    assert Ledger(home).status(1) == "applied"
    report = Ledger(home).read(1, REPORT)
    assert report is not None and report["deleted"]["documents"] == 1
    assert "applied" in shown and SNAPSHOT in client.get("/takedown/1").text


# ---- the rest ----


def test_a_home_without_anything_says_what_makes_some(empty):
    assert "stemma demo" in empty.get("/takedown").text


def test_unknown_requests_are_pages_that_say_so(client):
    for path in ("/takedown/1", "/takedown/x", "/takedown/-1", "/takedown/%E2%80%AE", "/takedown/99999999999999999999"):
        answer = client.get(path)
        assert answer.status_code == 404 and foreign(answer.text) == []


def test_requests_that_others_add_show_at_once(client, home):
    assert "Nobody has asked" in client.get("/takedown").text
    ask(home, "host", "example.org")
    assert "host example.org" in client.get("/takedown").text
    assert takedown_ledger.waiting(client.app.state.site) == 1
