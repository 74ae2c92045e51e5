"""Reach: every table, shard, model and export that holds a page is named, and what is nearly that page is offered."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from assets import policy
from assets.crawl import manifest_rows
from assets.lake import Lake
from assets.reach import EXPORTS, pages_of, reach, tables_of_documents
from assets.steps import stages
from assets.steps.scopes import scope
from kernels.tokens.shards import SplitWriter, write_manifest
from models.artifacts import seal
from tests.assets.takedown_crawl import SNAPSHOT, write_crawl


@pytest.fixture(scope="module")
def made(tmp_path_factory, bundled_crawl, here_engine):
    """A lake with all tables of the small crawl, and the pages of its files."""
    root, home = tmp_path_factory.mktemp("crawl"), tmp_path_factory.mktemp("home")
    files, lake = write_crawl(root, bundled_crawl), Lake(home)
    lake.write("crawl_manifest", manifest_rows(str(root), SNAPSHOT), replace={"snapshot": SNAPSHOT})
    engine, rules = here_engine(), policy.load("fineweb")
    stages.documents(lake, engine, SNAPSHOT, str(root))
    stages.annotations(lake, engine, SNAPSHOT)
    stages.decisions(lake, SNAPSHOT, rules)
    stages.signatures(lake, engine, SNAPSHOT)
    stages.duplicate_clusters(lake, SNAPSHOT)
    stages.repeated_text(lake, SNAPSHOT, rules.dedup)
    stages.corpus(lake, engine, SNAPSHOT)
    return lake, files


def artifact(lake: Lake, asset: str, folder: Path, kind: str, **identity) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "manifest.json").exists():
        seal(folder, kind, identity)
    return lake.commit_dir(asset, folder).data_version


def test_every_table_with_a_row_of_the_page_is_named(made):
    lake, files = made
    first = files[0][0]
    found = reach(lake, scope("url", first.url))
    assert found.pages["doc_id"].to_list() == [first.doc_id]
    tables = {one.asset for one in found.holdings}
    assert {"documents", "annotations", "decisions", "signatures", "duplicate_clusters", "corpus"} <= tables
    for one in found.holdings:
        assert (one.partition, one.what, one.documents) == (SNAPSHOT, "rows", 1)
        assert one.version == lake.version_of(one.asset, snapshot=SNAPSHOT)
    dropped = {name for name in tables_of_documents() if lake.exists(name)} - tables
    for name in dropped:
        assert lake.scan(name).filter(pl.col("doc_id") == first.doc_id).collect().is_empty()


def test_members_of_the_cluster_and_copies_are_offered_and_no_others(made):
    lake, files = made
    found = reach(lake, scope("url", files[0][0].url))
    assert set(found.near["doc_id"]) == {page.doc_id for page in files[1][:2]}
    assert set(found.near["of"]) == {files[0][0].doc_id}
    host = reach(lake, scope("host", "copies.example.org"))
    assert set(host.near["doc_id"]) == {page.doc_id for page in (*files[0][:2], files[1][0])}


def test_a_text_is_found_where_it_stands_nearly_and_where_it_stands_scrubbed(made):
    lake, files = made
    alike = {files[0][0].doc_id, files[1][0].doc_id, files[1][1].doc_id}
    assert set(pages_of(lake, scope("text", files[0][0].text))["doc_id"]) == alike
    rows = lake.scan("corpus").select("doc_id", "text").collect()
    for doc_id, text in rows.iter_rows():
        assert doc_id in set(pages_of(lake, scope("text", text))["doc_id"])


def test_a_page_that_nobody_holds_reaches_nothing(made):
    lake, _ = made
    found = reach(lake, scope("host", "nowhere.example.org"))
    assert found.pages.is_empty() and found.near.is_empty() and found.holdings == []


def test_nothing_is_found_in_a_home_without_tables(tmp_path):
    found = reach(Lake(tmp_path), scope("host", "example.org"))
    assert found.pages.is_empty() and found.holdings == []


def test_files_of_earlier_versions_are_named(made, tmp_path):
    lake, files = made
    page = files[0][1]
    other = Lake(tmp_path)
    rows = lake.scan("duplicate_clusters").collect()
    other.write("duplicate_clusters", rows, replace={"snapshot": SNAPSHOT})
    left = rows.filter(pl.col("doc_id") != page.doc_id)
    other.write("duplicate_clusters", left, replace={"snapshot": SNAPSHOT})
    held = reach(other, scope("document", page.doc_id)).holdings
    assert [(one.asset, one.what, one.current) for one in held] == [
        ("duplicate_clusters", "rows of earlier versions", False)
    ]


def test_shards_models_their_descendants_and_exports_are_named(tmp_path):
    lake = Lake(tmp_path / "home")
    page, other = "0" * 8 + "-0000-4000-8000-" + "0" * 12, "1" * 8 + "-0000-4000-8000-" + "1" * 12
    folder = tmp_path / "shards"
    folder.mkdir()
    writer = SplitWriter(folder, "train", 10)
    for doc_id, length in ((page, 3), (other, 2), (page, 3)):
        writer.add(doc_id, np.arange(length), length)
    write_manifest(folder, tokenizer_sha256="", vocab_size=10, splits={"train": writer.close()})
    shards = artifact(lake, "token_shards", folder, "token_shards")
    digests = {}
    for name, doc_id in (("saw", page), ("did_not", other)):
        base = tmp_path / name / "base"
        base.mkdir(parents=True)
        pl.DataFrame({"doc_id": [doc_id], "tokens": [3], "times": [2]}).write_parquet(base / "consumed.parquet")
        parent = artifact(lake, "base_model", base, "base_model", name=name)
        for asset in ("sft_model", "rl_model", "released_model"):
            digests[name, asset] = parent = artifact(lake, asset, tmp_path / name / asset, asset, parent=parent)
    line = {"asset": "rl_model", "digest": digests["saw", "rl_model"], "directory": "/exports/1"}
    (lake.local / EXPORTS).write_text(json.dumps(line) + "\n")
    held = {(one.asset, one.what): one for one in reach(lake, scope("document", page)).holdings}
    spans = held["token_shards", "spans"]
    assert (spans.version, spans.documents, spans.tokens) == (shards, 1, 6)
    assert held["base_model", "read in training"].tokens == 3 and not held["base_model", "read in training"].current
    for asset in ("sft_model", "rl_model", "released_model"):
        assert held[asset, "a parent read it"].version == digests["saw", asset]
    assert held["rl_model", "export"].place == "/exports/1" and len(held) == 6
