"""Through the graph: pages that two snapshots have are learned from once under `dedup: {scope: corpus}`."""

import json
import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.lake import Lake
from orchestration import definitions

REPO = Path(__file__).resolve().parents[2]
FILES = ("dolma-sample-0000.warc.gz", "cc-whirlwind.warc.wet.gz")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
POLICY = """
name: once
version: 1
description: All that has ten words, one page of all snapshots of each cluster.
line_filter: none
dedup: {scope: corpus, least_retention: 0, least_host_retention: 0}
repetition: {1: 1, 2: 2}
rules:
  - {rule: gopher_short_doc, statistic: n_words, min: 10, source: a test}
"""


@pytest.mark.slow
def test_a_file_that_lies_in_two_snapshots_is_learned_from_once(tmp_path, monkeypatch, block_list_cache):
    for snapshot in ("2024-10", "2024-18"):
        (tmp_path / "crawl" / snapshot).mkdir(parents=True)
        for name in FILES if snapshot == "2024-10" else FILES[:1]:
            shutil.copy(REPO / "tests" / "data" / "crawl" / "web-sample-2024" / name, tmp_path / "crawl" / snapshot)
    (tmp_path / "once.yaml").write_text(POLICY)
    home = tmp_path / "home"
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache)
    settings = {"HOME": home, "CRAWL": tmp_path / "crawl", "POLICY": tmp_path / "once.yaml", "RECIPE": "smoke"}
    for name, value in settings.items():
        monkeypatch.setenv(f"STEMMA_{name}", str(value))
    built = definitions.build()
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("snapshot", ["2024-10", "2024-18"])
        for snapshot in ("2024-18", "2024-10"):
            job = built.resolve_job_def("pages")
            assert job.execute_in_process(instance=instance, partition_key=snapshot, run_config=QUIET).success
        chosen = [dg.AssetKey([name]) for name in ("corpus_clusters", "tokenizer", "token_shards")]
        job = built.resolve_job_def("models")
        made = job.execute_in_process(instance=instance, asset_selection=chosen, run_config=QUIET)
    assert made.success and all(one.passed for one in made.get_asset_check_evaluations())
    lake = Lake(home)
    rows = lake.scan("corpus").select("doc_id", "snapshot").collect()
    first = set(rows.filter(snapshot="2024-10")["doc_id"])
    assert set(rows.filter(snapshot="2024-18")["doc_id"]) < first
    clusters = lake.scan("corpus_clusters").filter("survivor").collect()
    assert set(clusters["snapshot"]) == {"2024-10"}
    directory = lake.open_dir("token_shards")
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["dedup_scope"] == "corpus" and manifest["repetition"] == {"1": 1, "2": 2}
    train = pl.read_parquet(sorted(directory.glob("train*.spans.parquet")))["doc_id"].value_counts()
    size = dict(clusters.select("doc_id", "cluster_size").iter_rows())
    assert {doc_id: n for doc_id, n in train.iter_rows()} == {one: min(size[one], 2) for one in train["doc_id"]}
    assert max(size.values()) == 2 and set(size) == first
