"""A takedown on a whole demo: gone from every byte of the home, every model that had seen it named, the gate shut."""

import json
from dataclasses import replace
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.lake import Lake
from models.data.tokenizer import load_tokenizer
from tests.assets.byte_search import holding
from tests.small_demo import copy_home

MODELS = {"base_model", "sft_model", "rl_model", "released_model"}
CHOSEN = {"gradient_features", "diverse_candidates", "sft_dataset"}  # with the base model
SAID = ["--by", "Ann <ann@example.org>", "--why", "her pages"]


def read_page(home: Path) -> dict:
    """The corpus page that the base model read most of."""
    lake = Lake(home)
    consumed = pl.read_parquet(lake.open_dir("base_model") / "consumed.parquet")
    rows = lake.scan("documents").select("doc_id", "host", "text").collect().join(consumed, on="doc_id")
    return rows.sort("tokens", "doc_id", descending=[True, False]).row(0, named=True)


def decoder(home: Path):
    tokenizer = load_tokenizer(Lake(home).open_dir("tokenizer"))
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=False)


@pytest.fixture(scope="module")
def taken(smoke, tmp_path_factory):
    """(a copy of the demo after the takedown of a host that the models had read, that page, the report)."""
    home = tmp_path_factory.mktemp("taken") / "home"
    copy_home(smoke.home, home)
    demo, page = replace(smoke, home=home), read_page(smoke.home)
    assert demo.stemma("takedown", "add", "--host", page["host"], *SAID).returncode == 0
    done = demo.stemma("takedown", "apply", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    (report,) = json.loads(done.stdout)
    return demo, page, report


def test_no_byte_of_the_home_holds_the_text(smoke, taken):
    demo, page, report = taken
    assert holding(smoke.home / "lake", [page["text"]]), "the search must find it before"
    assert holding(demo.home, [page["text"]], decoder(demo.home)) == set()
    assert page["doc_id"] in {one["doc_id"] for one in report["found"]}


def test_reach_names_every_model_that_had_seen_it_and_status_says_why(taken):
    demo, page, _ = taken
    done = demo.stemma("reach", "--host", page["host"], "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    # other tests may have exported a model of the same demo
    held = [one for one in json.loads(done.stdout)["held_by"] if one["what"] != "export"]
    assert {one["asset"] for one in held} == MODELS | CHOSEN and {one["state"] for one in held} == {"outdated"}
    assert {one["asset"]: one["what"] for one in held if one["asset"] in CHOSEN} == {
        "gradient_features": "measured with a model that read it",
        "diverse_candidates": "chosen with a model that read it",
        "sft_dataset": "chosen with a model that read it",
    }
    nodes = json.loads(demo.stemma("status", "--json").stdout)["nodes"]
    because = {node["asset"]: {cause["text"] for cause in node["because"]} for node in nodes}
    for model in MODELS:
        assert any(text.startswith(f"takedown 1 ({model} ") for text in because[model])


def test_neither_the_gate_nor_a_single_asset_builds_on_what_had_seen_it(taken, monkeypatch):
    demo, _, report = taken
    monkeypatch.setenv("STEMMA_HOME", str(demo.home))
    monkeypatch.setenv("STEMMA_CRAWL", str(demo.crawl))
    monkeypatch.setenv("DAGSTER_HOME", str(demo.home / "dagster"))
    from assets.release import takedown_objections
    from orchestration.definitions import MODELS_JOB, build

    champions = report["refused"]["champions"]
    assert Lake(demo.home).artifacts.version_of("rl_model") in champions
    assert all(takedown_objections(Lake(demo.home), digest) for digest in champions)
    with dg.DagsterInstance.get() as instance:
        result = (
            build()
            .resolve_job_def(MODELS_JOB)
            .execute_in_process(
                instance=instance, asset_selection=[dg.AssetKey(["released_model"])], raise_on_error=False
            )
        )
        (failed,) = [event for event in result.all_events if event.is_step_failure]
        error = failed.step_failure_data.error
        assert not result.success and error is not None and "takedown 1" in str(error)


def test_apply_waits_for_runs_that_are_at_work(taken, monkeypatch):
    from dagster._core.test_utils import create_run_for_test

    demo, _, _ = taken
    monkeypatch.setenv("DAGSTER_HOME", str(demo.home / "dagster"))
    with dg.DagsterInstance.get() as instance:
        run = create_run_for_test(instance, job_name="pages", status=dg.DagsterRunStatus.STARTED)
        done = demo.stemma("takedown", "apply")
        assert done.returncode == 2 and run.run_id in done.stderr
        instance.report_run_canceled(run)
    assert demo.stemma("takedown", "apply").returncode == 0


@pytest.mark.slow
def test_demo_makes_all_of_it_again_without_the_page(taken):
    demo, page, _ = taken
    kept = Lake(demo.home).version_of("documents", snapshot="web-sample-2024")
    again = demo.run()
    assert {row["status"] for row in again["assets"]} == {"current"}
    assert again["versions"]["documents[web-sample-2024]"] == kept
    held = json.loads(demo.stemma("reach", "--host", page["host"], "--json").stdout)["held_by"]
    assert {one["state"] for one in held} == {"superseded"}
    assert holding(demo.home, [page["text"]], decoder(demo.home)) == set()
