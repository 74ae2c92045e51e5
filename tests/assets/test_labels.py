"""From labels to decisions: what they train, what they change and what they leave alone, in real Dagster runs."""

import json
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.judgements import training
from assets.judgements.pages import find
from assets.judgements.said import Said
from assets.judgements.store import Judgements
from assets.lake import Lake
from assets.policy import load
from assets.reach import JUDGED
from assets.steps import stages
from assets.steps.documents import documents_of
from assets.steps.ledger import Ledger
from assets.steps.scopes import scope
from assets.takedowns import apply
from models.config import QualityConfig
from orchestration import definitions
from orchestration.settings import look
from tests.assets.byte_search import holding
from tests.assets.conftest import HereEngine
from tests.assets.takedown_crawl import WebPage, write_wet

SNAPSHOT = "small"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
ABOVE_SCORES = ("crawl_fetches", "crawl_manifest", "documents", "annotations", "contamination")
CURATED = """
name: curated
version: 1
description: What our curators would keep.
source: a test
rules:
  - {rule: curators, statistic: curated_quality, min: 0.5}
"""


def run(instance: dg.DagsterInstance, job: str, assets: list[str] | None = None, partition: str | None = None) -> dict:
    """The data versions that a run's assets got. Every check must have passed."""
    result = (
        definitions.build()
        .resolve_job_def(job)
        .execute_in_process(
            instance=instance,
            partition_key=partition,
            asset_selection=[dg.AssetKey([name]) for name in assets] if assets else None,
            run_config=QUIET,
        )
    )
    made = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    return {one.asset_key.to_user_string(): (one.tags or {})["dagster/data_version"] for one in made}


def stale(instance: dg.DagsterInstance) -> dict[str, str]:
    """Assets that are not current, with the first cause."""
    return {
        node.asset: str(state.causes[0]) for node, state in look(definitions.build(), instance).items() if state.causes
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory, bundled_crawl, block_list_cache) -> Path:
    """A home whose pages and labels were made before anybody labelled; `crawl` beside it."""
    root = tmp_path_factory.mktemp("labels")
    records = []
    for name in ("bitchmagazine-2013.warc.gz", "dolma-sample-0000.warc.gz"):  # texts of real pages, to be read as such
        documents, _, _ = documents_of(bundled_crawl / "web-sample-2024" / name, name, SNAPSHOT, "0")
        rows = zip(documents["url"].to_pylist(), documents["text"].to_pylist(), strict=True)
        records += [WebPage(url, text, 1) for url, text in rows if text]
    write_wet(root / "crawl" / SNAPSHOT / "pages.warc.wet", records)
    (root / "home").mkdir()
    (root / "home" / "cache").symlink_to(block_list_cache)
    (root / "home" / "home.json").write_text('{"id": "0123"}')
    return root


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    with dg.DagsterInstance.ephemeral() as found:
        found.add_dynamic_partitions("snapshot", [SNAPSHOT])
        yield found


@pytest.fixture(autouse=True)
def environment(made, monkeypatch):
    monkeypatch.setenv("STEMMA_HOME", str(made / "home"))
    monkeypatch.setenv("STEMMA_CRAWL", str(made / "crawl"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody answers there: what it is told is spooled
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_the_way_of_labels_from_people_to_decisions(made, instance, monkeypatch, tmp_path):
    home, lake = made / "home", Lake(made / "home")

    # pages alone, before there is a classifier: the packaged weights score them, and the record names no classifier
    first = run(instance, "pages", [*ABOVE_SCORES, "page_quality", "decisions"], SNAPSHOT)
    scores = lake.scan("page_quality").join(lake.scan("annotations"), on="doc_id").collect()
    assert scores.height == lake.scan("documents").collect().height > 70
    assert scores["curated_quality"].equals(scores["quality_score"])

    # without a label the packaged weights are published, and nothing that a page becomes has news of it
    nothing = run(instance, "curation")
    manifest = json.loads((lake.open_dir(training.ASSET) / "manifest.json").read_text())
    assert not manifest["trained"] and "fewer than 20" in manifest["why"] and manifest["cross_validation"]["at_0.5"]
    assert set(stale(instance)) & set(first) == {"page_quality"}
    assert run(instance, "pages", ["page_quality"], SNAPSHOT) == {"page_quality": first["page_quality"]}

    # two people label: the long pages are good, say both, and the short ones bad; on one they differ, so it is left out
    texts = lake.scan("documents").select("doc_id", pl.col("text").str.len_chars().alias("n")).sort("n").collect()
    ids = texts.filter(pl.col("n") > 0)["doc_id"].to_list()
    bad, good = ids[:24], ids[-24:]
    pages, store = find(lake, ids), Judgements(home)
    store.add([Said(pages[one], "bad") for one in bad], "Ann")
    store.add([Said(pages[one], "good") for one in good], "Ann")
    store.add([Said(pages[bad[0]], "good"), Said(pages[bad[1]], "bad"), Said(pages[ids[30]], "unsure")], "Bob")
    wrong = stale(instance)
    assert "labels: config" in wrong["labels"] and not {*ABOVE_SCORES, "decisions"} & set(wrong)
    learnt = run(instance, "curation")
    assert learnt["labels"] != nothing["labels"] and learnt["quality_classifier"] != nothing["quality_classifier"]
    examples = training.examples(lake)
    assert dict(examples["label"].value_counts().iter_rows()) == {1: 24, 0: 23}
    manifest = json.loads((lake.open_dir(training.ASSET) / "manifest.json").read_text())
    assert manifest["trained"] and manifest["texts"] == 47 and manifest["good"] == 24
    consumed = pl.read_parquet(lake.open_dir(training.ASSET) / training.CONSUMED)
    assert set(consumed["doc_id"]) == {*bad[1:], *good}

    # the scores of all pages follow; a policy that does not ask for them decides as before and is not even asked
    assert set(stale(instance)) & set(first) == {"page_quality"}
    again = run(instance, "pages", ["page_quality"], SNAPSHOT)
    assert again["page_quality"] != first["page_quality"]
    assert not set(stale(instance)) & set(first)

    # one that asks decides by them, and a label that changes leads to another decision without reading a page again
    policy = tmp_path / "curated.yaml"
    policy.write_text(CURATED)
    monkeypatch.setenv("STEMMA_POLICY", str(policy))
    assert not set(ABOVE_SCORES) & set(stale(instance)) and "decisions" in stale(instance)
    decided = run(instance, "pages", ["decisions"], SNAPSHOT)
    reasons = lake.scan("decisions").group_by("reason").len().collect()
    assert "curators" in reasons["reason"].to_list() and decided["decisions"] != first["decisions"]
    before = lake.scan("decisions").collect()
    store.add([Said(pages[one], "good") for one in bad], "Ann")
    store.add([Said(pages[one], "bad") for one in good], "Ann")
    wrong = stale(instance)
    assert not set(ABOVE_SCORES) & set(wrong) and {"page_quality", "decisions"} <= set(wrong)
    run(instance, "curation")
    run(instance, "pages", ["page_quality", "decisions"], SNAPSHOT)
    assert not {*ABOVE_SCORES, "page_quality", "decisions"} & set(stale(instance))
    assert not lake.scan("decisions").collect().equals(before)

    # a takedown removes labels and the text that was learnt from, and the classifier that read it is to be made anew
    gone = good[-1]
    text = pages[gone].text
    assert holding(home / "judgements", [text]) and holding(home / "work" / training.ASSET, [text])
    Ledger(home).add(scope("document", gone), "Ann", "hers")
    (report,) = apply(lake, HereEngine(), load("fineweb"))
    assert {one["what"] for one in report["marked"]} == {"read in training"}
    assert {one["asset"] for one in report["marked"]} == {"quality_classifier"}
    assert report["deleted"]["labels"] == 1 and report["deleted"]["labelled_texts"] == 1
    found = json.loads((home / "takedowns" / "00000001" / "found.json").read_text())
    assert [one["documents"] for one in found["held_by"] if one["what"] == JUDGED] == [1]
    assert holding(home, [text]) == set() and gone not in {row["doc_id"] for row in store.newest()}
    assert "takedown 1" in stale(instance)["quality_classifier"]
    run(instance, "curation")
    assert "quality_classifier" not in stale(instance) and "labels" not in stale(instance)
    assert gone not in set(pl.read_parquet(lake.open_dir(training.ASSET) / training.CONSUMED)["doc_id"])


def test_scores_are_the_same_bytes_however_many_parts_and_workers(made, tmp_path):
    source = Lake(made / "home")
    versions = set()
    for pieces in (1, 3):
        lake = Lake(tmp_path / str(pieces))
        rows = source.scan("documents").collect().sort("shard", "doc_id")
        if pieces == 3:  # a shard's pages in several files, as several workers leave them
            parts = [part for k in range(3) for part in lake.write_parts("documents", rows.gather_every(3, k))]
            lake.commit("documents", parts, replace={"snapshot": SNAPSHOT})
        else:
            lake.write("documents", rows, replace={"snapshot": SNAPSHOT})
        stages.page_quality(lake, HereEngine(), SNAPSHOT)
        found = lake.scan("page_quality").sort("doc_id").collect()
        versions.add((found["curated_quality"].hash().sum(), found.height))
    assert len(versions) == 1


def test_settings_that_make_no_sense_are_refused():
    from models.config import InputError

    for wrong in ({"folds": 1}, {"least": 3}, {"least": 50, "most": 40}, {"strength": 0}):
        with pytest.raises(InputError, match="QualityConfig"):
            QualityConfig(**wrong)
