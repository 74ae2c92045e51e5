"""The tree of checkpoints and each one's page say what manifests, scorecards, event log and consumed rows say."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.lake import Lake
from assets.steps.ledger import Ledger
from assets.steps.scopes import scope
from models.artifacts import read_manifest
from orchestration.pages.background import Background, Made
from orchestration.pages.model_curves import MOST_POINTS, panels, thinned
from orchestration.pages.models import MODELS_SHOWN
from tests.small_demo import copy_home

LARGEST = 200_000  # bytes of a page
LINEAGE = ("base_model", "sft_model", "rl_model", "released_model")
LONGEST_S = 900


def digest_of(home: Path, asset: str) -> str:
    return Lake(home).artifacts.version_of(asset)


def eventually(client, path: str, wanted: str) -> str:
    """The page once it says what is found out in the background."""
    deadline = time.monotonic() + LONGEST_S
    while wanted not in (page := client.get(path).text):
        assert time.monotonic() < deadline, page[-3000:]
        time.sleep(0.5)
    return page


@pytest.fixture
def copy(smoke, tmp_path) -> Path:
    """A copy of the small demo's home that a test may change."""
    copy_home(smoke.home, tmp_path / "copy")
    return tmp_path / "copy"


def test_tree_holds_every_checkpoint_below_the_one_it_was_trained_from(pages, smoke):
    page = pages.get("/models").text
    places = [page.index(f'href="/models/{digest_of(smoke.home, asset)}"') for asset in LINEAGE]
    assert places == sorted(places)
    opened = [page[:place].count('<ul class="tree">') - page[:place].count("</ul>") for place in places]
    assert opened == sorted(set(opened)), "each lies one list deeper than its parent"
    assert len(page.encode()) < LARGEST


def test_scores_stand_with_their_intervals_and_baselines(pages, smoke):
    row = pl.read_parquet(Lake(smoke.home).open_dir("scorecard") / "scorecard.parquet").filter(
        model="rl_model", metric="bits_per_byte"
    )
    value, low, high, uniform = row.select("value", "low", "high", "baseline_uniform").row(0)
    page = pages.get(f"/models/{digest_of(smoke.home, 'rl_model')}").text
    assert f"<b>{value:.4g}</b>" in page and f"{low:.4g} – {high:.4g}" in page and f"{uniform:.3g}" in page


def test_what_is_outdated_names_its_root_and_when_it_was_found_out(pages_of, smoke):
    client = pages_of(smoke.home, STEMMA_CRAWL=str(smoke.crawl))
    page = eventually(client, "/models", "as of ")
    assert page.count("in use, up to date") == len(LINEAGE) and "outdated</span>" not in page
    recipe = "demo" if (smoke.home / "recipe").read_text().strip() == "smoke" else "smoke"
    other = pages_of(smoke.home, STEMMA_CRAWL=str(smoke.crawl), STEMMA_RECIPE=recipe)
    page = eventually(other, f"/models/{digest_of(smoke.home, 'rl_model')}", "Outdated because of")
    assert "base_model: config " in page, "a cause two steps above is named"


def test_names_and_beginnings_of_digests_lead_to_the_checkpoint(pages, smoke):
    rl = digest_of(smoke.home, "rl_model")
    for name in ("rl_model", "champion", rl[:8]):
        answer = pages.get(f"/models/{name}")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/models/{rl}")
    answer = pages.get(f"/models/{rl}?with=sft_model")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/models/0123456789abcdef0123456789abcdef",
        "/models/abc",
        "/models/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "/models/rl_model%00",
        "/models/data/sft_dataset/0123",
        "/models/data/secrets/current",
        "/models/data/..%2f..%2fdagster/current",
        "/models/data/sft_dataset/..",
    ],
)
def test_unknown_checkpoints_and_data_are_said_to_be_unknown(pages, path):
    answer = pages.get(path)
    assert answer.status_code == 404 and "<script>" not in answer.text


def test_more_runs_than_colours_are_refused(pages, smoke):
    rl = digest_of(smoke.home, "rl_model")
    answer = pages.get(f"/models/{rl}?" + "&".join(f"with={i:032x}" for i in range(9)))
    assert answer.status_code == 422


def test_a_home_without_models_says_what_makes_them(empty, pages_of, copy):
    assert "stemma demo" in empty.get("/models").text
    for asset in LINEAGE:
        shutil.rmtree(copy / "artifacts" / asset)
    bare = pages_of(copy)
    for path in ("/models", "/models/rl_model"):
        answer = bare.get(path)
        assert answer.status_code == 200 and "no model was trained here yet" in answer.text
    assert bare.get("/cards").status_code == 200


def test_what_a_base_model_read_is_counted_by_host_and_leads_to_its_documents(pages, smoke):
    lake, base = Lake(smoke.home), digest_of(smoke.home, "base_model")
    consumed = pl.read_parquet(lake.open_dir("base_model") / "consumed.parquet")
    read = consumed.join(lake.scan("documents").select("doc_id", "host").unique("doc_id").collect(), on="doc_id")
    host, documents = read.group_by("host").len().sort(["len", "host"], descending=[True, False]).row(0)
    page = pages.get(f"/models/{base}").text
    assert re.search(rf'<th scope="row">{re.escape(host)}</th><td class="num">{documents:,}</td>', page)
    linked = set(re.findall(r'href="/doc/([^"?]+)\?snapshot=', page))
    assert linked and linked <= set(consumed["doc_id"])
    assert len(page.encode()) < LARGEST


def test_takedowns_and_exports_stand_with_every_model_that_they_touch(pages_of, copy):
    lake, rl = Lake(copy), digest_of(copy, "rl_model")
    read = pl.read_parquet(lake.open_dir("base_model") / "consumed.parquet")["doc_id"][0]
    url = lake.scan("documents").filter(doc_id=read).select("url").collect().item(0, 0)
    Ledger(copy).add(scope("url", url), "Ann <ann@example.org>", "her page")
    (copy / "exports.jsonl").write_text(f'{{"asset": "rl_model", "digest": "{rl}", "directory": "/somewhere/<b>"}}\n')
    page = eventually(pages_of(copy), "/models", "takedown 1</a>")
    assert page.count("takedown 1</a>") == len(LINEAGE), "the base model read it, the others are its children"
    assert page.count("/somewhere/&lt;b&gt;") == 1 and "Ann" not in page
    assert "withdrawn since: takedown 1" in pages_of(copy).get(f"/cards/model/{rl}.md").text


def test_runs_are_linked_both_in_dagster_and_in_mlflow(pages, smoke):
    page = pages.get(f"/models/{digest_of(smoke.home, 'sft_model')}").text
    assert 'href="http://127.0.0.1:3000/assets/sft_model"' in page
    assert re.search(r'href="http://127.0.0.1:3000/runs/[0-9a-f-]{36}"', page)
    assert re.search(r'href="http://127.0.0.1:5000/#/experiments/\d+/runs/[0-9a-f]{32}"', page)


def test_curves_of_several_runs_are_drawn_over_each_other(pages, smoke):
    rl, sft = (digest_of(smoke.home, asset) for asset in ("rl_model", "sft_model"))
    page = pages.get(f"/models/{rl}?with={sft}").text
    drawn = [chart for chart in re.split(r'<section class="sheet">', page) if "Held-out accuracy" in chart]
    assert any(f"rl_model {rl[:8]}" in chart and f"sft_model {sft[:8]}" in chart for chart in drawn)
    assert len(page.encode()) < LARGEST


def test_curves_come_from_mlflow_where_the_work_directory_is_gone(pages_of, copy):
    base = digest_of(copy, "base_model")
    before = pages_of(copy).get(f"/models/{base}").text
    points = re.findall(r'<polyline class="line line-0" points="([^"]+)"', before)
    shutil.rmtree(copy / "work")
    after = eventually(pages_of(copy), f"/models/{base}", "Bits per held-out byte")
    assert re.findall(r'<polyline class="line line-0" points="([^"]+)"', after) == points and points


def test_a_page_lives_when_mlflow_is_away_and_says_so(pages_of, copy):
    shutil.rmtree(copy / "work")
    client = pages_of(copy, MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    base = digest_of(copy, "base_model")
    page = eventually(client, f"/models/{base}", "MLflow does not give them")
    assert "What it read" in page


def test_made_data_says_where_its_rows_come_from(pages, smoke):
    digest = digest_of(smoke.home, "sft_dataset")
    assert pages.get("/models/data/sft_dataset/current").headers["location"] == f"/models/data/sft_dataset/{digest}"
    page = pages.get(f"/models/data/sft_dataset/{digest}").text
    manifest = read_manifest(Lake(smoke.home).open_dir("sft_dataset"))
    assert f"{manifest['examples']:,} rows" in page and f"{manifest['tokens']:,} tokens" in page
    assert f'href="/models/{digest_of(smoke.home, "sft_model")}"' in page
    assert 'href="http://127.0.0.1:3000/assets/sft_dataset"' in page
    for asset in ("synthetic_candidates", "diverse_candidates", "rl_tasks"):
        assert pages.get(f"/models/data/{asset}/{digest_of(smoke.home, asset)}").status_code == 200


def test_a_page_of_many_checkpoints_stays_small_and_says_how_many_it_left_out(pages_of, copy):
    base, sft = (digest_of(copy, asset) for asset in ("base_model", "sft_model"))
    for number in range(200):
        shutil.copytree(copy / "artifacts" / "sft_model" / sft, copy / "artifacts" / "sft_model" / f"{number:032x}")
    page = pages_of(copy).get("/models").text
    assert len(page.encode()) < LARGEST
    assert page.count('<article class="sheet"') == MODELS_SHOWN
    left = 200 + len(LINEAGE) - MODELS_SHOWN
    assert (
        f"{left} older ones below it" in page
        and f'href="/models/{"0" * 32}"' in pages_of(copy).get(f"/models/{base}").text
    )


def test_a_long_curve_is_thinned_to_points_of_its_own_with_its_ends():
    curve = [(step, step**0.5) for step in range(10_000)]
    drawn = thinned(curve)
    assert len(drawn) <= MOST_POINTS and {*drawn} <= {*curve}
    assert (drawn[0], drawn[-1]) == (curve[0], curve[-1])


def test_a_policy_objective_is_no_loss_and_what_is_always_zero_is_not_drawn():
    points = [(1, "loss", 0.1), (1, "reward_mean", 0.2), (2, "reward_mean", 0.4), (1, "kl", 0.0), (2, "kl", 0.0)]
    assert [panel.title for panel in panels({"one": points})] == ["Reward in training"]


def slowly(value: str) -> str:
    time.sleep(0.2)
    return value


def looked(kept: Background[Any], stamp: str, make: Callable[[], Any], wait_s: float = 10) -> Made[Any]:
    made = kept.look(stamp, make, wait_s)
    assert made is not None
    return made


def test_a_value_made_in_the_background_is_shown_until_a_newer_one_is_there():
    kept: Background[str] = Background()
    assert kept.look("1", lambda: slowly("first")) is None
    assert looked(kept, "1", lambda: "never asked").value == "first"
    assert looked(kept, "2", lambda: slowly("second"), 0).value == "first", "the old one meanwhile"
    assert looked(kept, "2", lambda: "never asked").value == "second"


def test_what_could_not_be_made_says_why_and_is_tried_again_for_another_state():
    kept: Background[int] = Background()
    assert str(looked(kept, "1", lambda: 1 // 0).trouble).startswith("ZeroDivisionError")
    assert looked(kept, "1", lambda: 5).trouble, "not again for the same state"
    assert looked(kept, "2", lambda: 5).value == 5


def test_assets_in_dagster_link_to_pages_that_link_back(pages_of, smoke):
    client = pages_of(smoke.home, STEMMA_CRAWL=str(smoke.crawl))
    with dg.DagsterInstance.get() as instance:
        for asset, pictures, tables in (
            ("corpus_card", {"funnel"}, {"funnel_steps", "no_pages"}),
            ("base_model", {"curves"}, {"figures"}),
            ("sft_dataset", {"lengths"}, {"by_family", "by_teacher", "by_split"}),
            ("rl_model", {"curves"}, {"accuracies"}),
        ):
            event = instance.get_latest_materialization_event(dg.AssetKey([asset]))
            assert event is not None and event.asset_materialization is not None
            said = event.asset_materialization.metadata
            assert all("data:image/png" in str(said[name].value) for name in pictures)
            assert all(isinstance(said[name], dg.TableMetadataValue) for name in tables)
            path = str(said["stemma/page"].value).removeprefix("http://127.0.0.1:8000")
            page = client.get(path)
            assert page.status_code == 200, path
            assert f'href="http://127.0.0.1:3000/assets/{asset}"' in page.text
