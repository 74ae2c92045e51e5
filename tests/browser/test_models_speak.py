"""What people do with models in a browser: probe a text step by step, chat with one, vote on a blind pair."""

import re

import pytest

from tests.small_demo import Demo

TEXT = "The water of the river"


@pytest.fixture(scope="module")
def home(own_home) -> Demo:
    return own_home("speaking")


@pytest.fixture(scope="module")
def address(serve, home) -> str:
    return serve(home.home, home.crawl)


def test_a_probe_is_walked_with_the_arrow_keys_and_compares_two_checkpoints(tab, address):
    tab.goto(f"{address}/probe")
    tab.fill("#text", TEXT)
    tab.select_option("select[name=other]", index=2)
    tab.click("form#probe button:not(.token)")
    tab.wait_for_url("**/probe?**")
    assert tab.locator("[data-testid=entropy]").count() == 2
    places = [re.search(r"position=(\d+)", tab.url)]
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight"):
        with tab.expect_navigation():
            tab.keyboard.press(key)
        places.append(re.search(r"position=(\d+)", tab.url))
    numbers = [int(place[1]) for place in places[1:] if place]
    assert numbers[0] - numbers[1] == 1 and numbers[2] - numbers[1] == 1
    shares = [float(one.inner_text().rstrip("%")) for one in tab.locator("table.bars").first.locator("td.num").all()]
    assert abs(sum(shares) - 100) < 0.2, "the bars and all others are the whole distribution"
    entropy = [float(one.inner_text()) for one in tab.locator("[data-testid=entropy]").all()]
    assert all(0 <= one < 20 for one in entropy)


def test_a_conversation_streams_and_is_kept_on_the_page(tab, address):
    tab.goto(f"{address}/chat?max_new_tokens=24&seed=3&temperature=0.7")
    tab.fill("#prompt", "How many ones are in 1011?")
    tab.press("#prompt", "Control+Enter")
    tab.wait_for_selector("article.turn.assistant")
    tab.wait_for_selector("#stop", state="hidden")
    tab.wait_for_function("() => !document.querySelector('#send').disabled")
    first = tab.locator("article.turn.assistant .said").inner_text()
    assert tab.locator("article.turn.user").count() == 1
    assert tab.locator("#trouble").is_hidden()
    tab.goto(f"{address}/chat?max_new_tokens=24&seed=3&temperature=0.7")
    tab.fill("#prompt", "How many ones are in 1011?")
    tab.press("#prompt", "Control+Enter")
    tab.wait_for_selector("article.turn.assistant")
    tab.wait_for_selector("#stop", state="hidden")
    tab.wait_for_function("() => !document.querySelector('#send').disabled")
    assert tab.locator("article.turn.assistant .said").inner_text() == first, "the same seed says the same"


def test_a_conversation_works_without_scripts(chromium, address):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/chat?max_new_tokens=8&seed=1")
    page.fill("#prompt", "Count.")
    page.click("#send")
    assert page.locator("article.turn.assistant").count() == 1
    context.close()


def test_a_blind_pair_is_voted_on_with_a_key_and_rates_the_models(tab, address):
    tab.goto(f"{address}/arena?voter=ann&max_new_tokens=12")
    tab.fill("#prompt", "How many ones are in 1011?")
    tab.click("button[data-key=n]")
    tab.wait_for_selector("p.votes")
    hidden = tab.locator("h2 a[href^='/models/']").count()
    assert hidden == 0, "no name is shown before the vote"
    with tab.expect_navigation():
        tab.locator("h1").click()
        tab.keyboard.press("1")
    assert tab.locator("h2 a[href^='/models/']").count() == 2
    tab.click("text=Ratings")
    tab.wait_for_selector("caption:has-text('Ratings')")
    assert tab.locator("table").first.locator("tbody tr").count() >= 2
    with tab.expect_download() as download:
        tab.click("a[href='/arena/preferences.jsonl']")
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 1 and '"chosen"' in lines[0] and '"rejected"' in lines[0]
