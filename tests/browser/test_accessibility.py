"""No page has a serious accessibility fault by axe-core's rules, light or dark, at the width of a screen or a phone."""

import time
from typing import Any

import httpx
import pytest

from tests.browser.conftest import npm_file
from tests.small_demo import Demo

MISSING = "/no-such-page"
SERIOUS = ("serious", "critical")
LOOKS = {"light": ("light", 1280), "dark": ("dark", 1280), "phone": ("light", 390)}
RUN_AXE = "() => axe.run(document, {resultTypes: ['violations']})"
WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def address(serve, smoke: Demo) -> str:
    return serve(smoke.home, smoke.crawl)


@pytest.fixture(scope="module")
def pages_to_see(address, smoke: Demo) -> list[str]:
    """Every page of the navigation and one of each kind below it."""
    import polars as pl

    from assets.lake import Lake

    lake = Lake(smoke.home)
    kept = lake.scan("corpus").select("doc_id", "snapshot").sort("doc_id").head(1).collect().row(0)
    dropped = (
        lake.scan("decisions").filter(pl.col("reason").is_not_null()).select("doc_id", "snapshot", "reason")
    ).sort("doc_id").head(1).collect().row(0)  # fmt: skip
    model = lake.open_dir("base_model").name
    return [
        "/",
        "/filter",
        f"/filter/{dropped[2]}",
        "/filter/language_score",
        f"/doc/{kept[0]}?snapshot={kept[1]}",
        f"/doc/{dropped[0]}?snapshot={dropped[1]}",
        "/search",
        "/search?q=the",
        "/labels",
        "/diff",
        "/diff?a=fineweb&b=strict",
        "/takedown",
        "/takedown?host=earth.org",
        "/models",
        f"/models/{model}",
        "/probe?text=The+water+is+cold",
        "/chat",
        "/arena",
        "/cards",
        "/cards/corpus",
        "/login",
        MISSING,
    ]


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_serious_fault(chromium, address, pages_to_see, look):
    scheme, width = LOOKS[look]
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True)
    page, axe = context.new_page(), npm_file("axe-core/axe.min.js").read_text()
    faults: list[str] = []
    for path in pages_to_see:
        wait_until_made(address + path)
        page.goto(address + path)
        page.wait_for_load_state("networkidle")
        page.evaluate(axe)
        faults += [f"{path}: {told(one)}" for one in page.evaluate(RUN_AXE)["violations"] if one["impact"] in SERIOUS]
        if page.evaluate(WIDER) > 0:
            faults.append(f"{path}: wider than a window of {width}")
    context.close()
    assert faults == []


def wait_until_made(address: str, seconds: float = 600) -> None:
    """Returns when the page no longer loads itself again because something is still being counted."""
    deadline = time.monotonic() + seconds
    while "refresh" in httpx.get(address, timeout=300, follow_redirects=True).headers:
        assert time.monotonic() < deadline, f"{address} is still being made after {seconds} s"
        time.sleep(0.5)


def told(violation: dict[str, Any]) -> str:
    places = "; ".join(node["html"][:120] for node in violation["nodes"][:3])
    return f"{violation['id']} ({violation['impact']}) {violation['help']}: {places}"


def test_every_page_can_be_walked_with_the_keyboard(tab, address, pages_to_see):
    """Tab reaches a skip link first, then the navigation; what has the focus can be seen."""
    for path in (one for one in pages_to_see if one != MISSING):  # its answer is an error on the console, rightly
        tab.goto(address + path)
        tab.keyboard.press("Tab")
        assert tab.evaluate("() => document.activeElement.getAttribute('href')") == "#main", path
        for _ in range(3):
            tab.keyboard.press("Tab")
        outline = tab.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        assert outline not in ("none", ""), path
