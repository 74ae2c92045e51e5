"""Crawled text, URLs, titles, queries and model output attack every page, and nothing of them is executed or injected.

Hostile pages and what models say are shown twice: as the pages are served, and with the browser told to ignore our
Content-Security-Policy, so that escaping alone must hold. All else is shown the second way, the harder one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from assets.lake import Lake
from orchestration.engines.local import LocalEngine
from orchestration.home import prepare
from tests.assets.takedown_home import make_tables
from tests.browser import hostile_crawl, hostile_model
from tests.browser.conftest import OURS

MOST_PAGES = 60

INJECTED = Path(__file__).with_name("injected.js").read_text()
LINKS = """() => [...document.querySelectorAll("a[href], [hx-get]")].map(
  (a) => a.getAttribute("hx-get") || a.getAttribute("href"))"""


@pytest.fixture(scope="module")
def attacked(tmp_path_factory, serve, bundled_crawl, block_list_cache, hostile_strings) -> tuple[str, list[str]]:
    """The address of pages over a home of hostile pages, and their doc_ids."""
    place = tmp_path_factory.mktemp("hostile")
    home, crawl = place / "home", place / "crawl"
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache)
    ids = hostile_crawl.write(crawl, bundled_crawl, hostile_strings)
    prepare(home)
    lake = Lake(home)
    make_tables(lake, LocalEngine(2), crawl, hostile_crawl.SNAPSHOT)
    for seed, asset in enumerate(("base_model", "sft_model", "rl_model")):
        hostile_model.write(place / asset, place / f"tokenizer-{seed}", OURS, seed)
        lake.commit_dir(asset, place / asset)
    return serve(home, crawl), ids


POLICY, ALONE = "with the policy", "escaping alone"


@pytest.fixture(params=[POLICY, ALONE])
def attacked_tab(chromium, request) -> Iterator[tuple[Any, list[str]]]:
    """A browser's page and what went wrong on it."""
    context = chromium.new_context(bypass_csp=request.param == ALONE)
    page, wrong = context.new_page(), []
    page.set_default_timeout(120_000)  # the first text of a fresh checkout waits until the engine is compiled
    page.on("dialog", lambda dialog: (wrong.append(f"dialog on {page.url}: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda asked: None if at_home(asked.url) else wrong.append(f"{page.url} asked for {asked.url}"))
    page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
    yield page, wrong
    context.close()


def at_home(address: str) -> bool:
    return address.startswith("data:image/") or urlsplit(address).hostname == "127.0.0.1"


def look(page: Any, wrong: list[str], address: str) -> None:
    """Opens an address and asks the document what is in it that is not ours."""
    page.goto(address)
    page.wait_for_load_state("networkidle")
    wrong += [f"{address}: {one}" for one in page.evaluate(INJECTED)]


def test_every_hostile_page_is_shown_and_nothing_of_it_runs(attacked, attacked_tab):
    (address, ids), (page, wrong) = attacked, attacked_tab
    for doc_id in ids:
        look(page, wrong, f"{address}/doc/{doc_id}?snapshot={hostile_crawl.SNAPSHOT}")
        assert page.locator("h1").count() == 1
    assert wrong == []


@pytest.mark.parametrize("attacked_tab", [ALONE], indirect=True)
def test_every_page_that_links_lead_to_is_clean(attacked, attacked_tab):
    """All addresses within reach of the first page, one for each shape of address and set of parameters."""
    (address, _), (page, wrong) = attacked, attacked_tab
    waiting, seen = ["/", f"/search?q={quote('<script>')}", "/takedown?host=hostile.example", "/cards"], set()
    while waiting and len(seen) < MOST_PAGES:
        path = waiting.pop(0)
        if (shape := shape_of(path)) in seen:
            continue
        seen.add(shape)
        look(page, wrong, address + path)
        waiting += [link for link in page.evaluate(LINKS) if link and is_page(link)]
    assert wrong == []
    assert len(seen) > 15


@pytest.mark.parametrize("attacked_tab", [ALONE], indirect=True)
def test_what_an_address_says_is_escaped_on_every_page(attacked, attacked_tab, hostile_strings):
    (address, _), (page, wrong) = attacked, attacked_tab
    strings = hostile_strings[-len(hostile_strings) % 7 :: 9] + hostile_strings[-29:]
    for i, string in enumerate(strings):
        said = quote(string.encode("utf-8", "surrogatepass"))
        path = REFLECTING[i % len(REFLECTING)].format(said)
        look(page, wrong, address + path)
    assert wrong == []


def test_what_a_model_says_is_text_wherever_it_is_shown(attacked, attacked_tab):
    (address, _), (page, wrong) = attacked, attacked_tab
    page.goto(f"{address}/chat?max_new_tokens=40&temperature=0")
    page.fill("#prompt", OURS[3])
    page.press("#prompt", "Control+Enter")
    answer = page.locator("article.turn.assistant .said")
    answer.wait_for()
    page.wait_for_function("() => !document.querySelector('#send').disabled")
    assert "window.hit" in answer.inner_text(), "the model really says it"
    wrong += page.evaluate(INJECTED)
    look(page, wrong, f"{address}/probe?text={quote(OURS[3])}&other=base_model")
    assert "window" in page.locator("main").inner_text()
    page.goto(f"{address}/arena?voter={quote(OURS[0][:60])}&max_new_tokens=40&temperature=0")
    page.fill("#prompt", OURS[0])
    page.click("button[data-key=n]")
    page.wait_for_selector("p.votes")
    assert page.locator(".pair .said").filter(has_text="window.hit").count() == 2
    wrong += page.evaluate(INJECTED)
    page.click("p.votes button >> nth=0")
    page.wait_for_selector("[role=status], [role=alert]")  # a hostile name of a voter may be refused
    wrong += page.evaluate(INJECTED)
    look(page, wrong, f"{address}/arena")
    assert wrong == []


REFLECTING = [
    "/search?q={0}",
    "/doc/{0}",
    "/filter/{0}",
    "/?snapshot={0}",
    "/search?host={0}&language={0}&reason={0}",
    "/diff?a={0}&b=now",
    "/takedown?url={0}",
    "/labels?rule={0}&who={0}",
    "/models/{0}",
    "/probe?text={0}",
    "/chat?prompt={0}",
    "/{0}",
]


def is_page(link: str) -> bool:
    """Whether a link leads to a page of ours, and not to a file."""
    path = urlsplit(link).path
    return link.startswith("/") and not path.startswith("/static/") and not path.endswith((".csv", ".jsonl", ".md"))


def shape_of(path: str) -> str:
    """An address without what only chooses among equals."""
    parts = urlsplit(path)
    folders = parts.path.strip("/").split("/")[:1]
    names = sorted({pair.split("=")[0] for pair in parts.query.split("&")})
    return "/".join(folders) + ("/…" if parts.path.count("/") > 1 else "") + "?" + "&".join(names)


def test_shapes_join_addresses_that_differ_in_values_alone():
    assert shape_of("/doc/a?snapshot=1") == shape_of("/doc/b?snapshot=2") != shape_of("/doc?snapshot=1")
