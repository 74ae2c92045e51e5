"""What curators do, in a browser, with all that `stemma ui` starts: Dagster with its daemon, MLflow, the pages."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator

import polars as pl
import pytest

from assets.lake import Lake
from models.config import QualityConfig
from tests.browser.conftest import REPO, free_port, wait_until_up
from tests.small_demo import STEMMA, Demo

RUN_MS = 600_000  # a run of Dagster on a busy machine
EACH = QualityConfig().least  # labels of either kind: with fewer the packaged weights stand in
SETTLED = "() => !document.querySelector('.htmx-request, .htmx-swapping, .htmx-settling, .htmx-added')"


@pytest.fixture(scope="module")
def home(own_home) -> Demo:
    return own_home("stories")


@pytest.fixture(scope="module")
def desk(home, tmp_path_factory) -> Iterator[str]:
    """The address that `stemma ui` says to open."""
    ports = [free_port() for _ in range(3)]
    words = [*STEMMA, "ui", "--port", str(ports[0]), "--mlflow-port", str(ports[1]), "--pages-port", str(ports[2])]
    with (tmp_path_factory.mktemp("ui") / "log").open("wb") as log:
        started = subprocess.Popen(words, cwd=REPO, env=home.environment, stdout=log, stderr=log)
    try:
        for port in ports:
            wait_until_up(started, f"http://127.0.0.1:{port}/")
        yield f"http://127.0.0.1:{ports[2]}"
    finally:
        started.send_signal(signal.SIGINT)
        started.wait(300)


def number(text: str) -> int:
    return int(text.replace(",", ""))


def run_to_its_end(tab) -> None:
    """Waits on the page of a run until it is over, which must be well."""
    tab.wait_for_url(re.compile("/run/"))
    over = re.compile("^(success|failed|canceled)$")
    tab.get_by_test_id("run-state").filter(has_text=over).wait_for(timeout=RUN_MS)
    assert tab.get_by_test_id("run-state").inner_text() == "success"


def test_a_threshold_is_tried_saved_used_and_the_funnel_follows(tab, desk, home):
    tab.goto(desk)
    tab.get_by_role("link", name="language_score", exact=True).click()
    tab.wait_for_url("**/filter/language_score**")
    tab.get_by_test_id("type-min").fill("0.97")
    tab.get_by_test_id("proposed").wait_for()
    assert "min=0.97" in tab.url, "the view can be shared"
    lost, won = (number(tab.get_by_test_id(name).inner_text()) for name in ("lost", "won"))
    before, after = (number(tab.get_by_test_id(f"kept-{when}").inner_text()) for when in ("before", "after"))
    assert lost > 0 == won and before - after == lost
    tab.get_by_text("Save as a version of a policy").click()
    form = tab.get_by_test_id("save")
    form.locator("[name=name]").fill("ours")
    form.locator("[name=by]").fill("Ann")
    form.locator("[name=why]").fill("surer of the language")
    form.get_by_role("button", name="Save").click()
    tab.wait_for_url("**/policy/ours@1**")
    assert "language_score" in tab.get_by_test_id("rules").inner_text()
    tab.get_by_test_id("use").click()
    run_to_its_end(tab)
    tab.get_by_role("link", name="See what it changed").click()
    tab.wait_for_url(f"{desk}/**")
    assert "ours@1" in tab.locator("main").inner_text()
    decided = Lake(home.home).scan("decisions").select("policy", "verdict").collect()
    assert set(decided["policy"]) == {"ours@1"} and decided.filter(pl.col("verdict") == "kept").height == after


def test_labels_given_with_keys_train_the_classifier(tab, desk):
    tab.goto(f"{desk}/labels")
    tab.fill("main input[name=by]", "ann")
    tab.get_by_role("button", name="Begin").click()
    seen = set()
    for key in ["g", "b"] * EACH:
        item = tab.get_by_test_id("item")
        doc_id = item.get_attribute("data-doc")
        seen.add(doc_id)
        tab.wait_for_function(SETTLED)
        tab.keyboard.press(key)
        tab.wait_for_function("id => document.querySelector('[data-testid=item]')?.dataset.doc !== id", arg=doc_id)
    assert len(seen) == 2 * EACH, "no page came twice"
    tab.get_by_role("link", name="Classifier").click()
    assert "Not trained on labels" in tab.locator("main").inner_text()
    tab.get_by_role("button", name="Train again").click()
    run_to_its_end(tab)
    tab.goto(f"{desk}/labels/classifier")
    assert f"Trained on {2 * EACH} judged texts, {EACH} of them good" in tab.locator("main").inner_text()
    assert tab.get_by_test_id("thresholds").locator("tbody tr").count() > 3


def test_a_page_is_taken_down_and_gone(willing_tab, desk, home):
    tab = willing_tab
    lake = Lake(home.home)
    read = pl.scan_parquet(lake.open_dir("base_model") / "consumed.parquet").select("doc_id")
    rows = lake.scan("corpus").select("doc_id", "snapshot", "url").join(read, on="doc_id").sort("doc_id")
    doc_id, snapshot, url = rows.head(1).collect().row(0)
    tab.goto(f"{desk}/doc/{doc_id}?snapshot={snapshot}")
    tab.get_by_role("link", name="Take this page down").click()
    tab.wait_for_url("**/takedown?**")
    tab.locator("#reach a[href^='/models/']").first.wait_for()
    tab.fill("#request [name=by]", "Ann <ann@example.org>")
    tab.fill("#request [name=why]", "her page")
    tab.get_by_role("button", name="Add to the ledger").click()
    tab.get_by_role("status").filter(has_text="is in the ledger").wait_for()
    apply = tab.get_by_role("button", name=re.compile("^Apply"))
    if apply.count():
        apply.click()
    deadline = time.monotonic() + RUN_MS / 1000
    while "applied" not in tab.locator("#ledger tbody tr").first.inner_text():
        assert time.monotonic() < deadline, tab.locator("#ledger").inner_text()
        time.sleep(2)
        tab.goto(f"{desk}/takedown")
    tab.locator("#ledger tbody a").first.click()
    assert url[:60] in tab.locator("main").inner_text()
    assert Lake(home.home).scan("documents").filter(pl.col("doc_id") == doc_id).collect().is_empty()
