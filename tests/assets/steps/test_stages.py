"""Steps: one row a document whatever the batch, files shared by offsets, on S3 too."""

import hashlib
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import schemas
from assets.lake import Lake
from assets.parts import file_sha256
from assets.steps import annotate, shard, stages
from assets.steps.jobs import ShardJob
from assets.steps.signatures import sign
from kernels.text import minhash
from kernels.text.urls import UrlRules
from orchestration.engines.local import LocalEngine

CRAWL_FILE = "CC-MAIN-2020-34/CC-MAIN-20200808165417-20200808195417-00395.warc.gz"
SMALLEST = "web-sample-2024/cc-whirlwind.warc.gz"
PAGE = "The river rises in the hills above the town and runs for forty miles before it meets the sea. Write to a@b.org."


def documents(texts: list[str]) -> pa.RecordBatch:
    ids = [f"d{i}" for i in range(len(texts))]
    urls = [f"https://example.org/{i}" for i in range(len(texts))]
    return pa.RecordBatch.from_pydict({"doc_id": ids, "url": urls, "text": texts})


@pytest.fixture(scope="module")
def rules(block_list_cache) -> UrlRules:
    return UrlRules.load(block_list_cache)


def test_every_document_has_a_row_and_it_depends_on_that_document_alone(rules):
    texts = ["", PAGE, "Sie wohnt seit Jahren in einem alten Haus am Rand der Stadt.", " \n ", PAGE * 30]
    together = annotate.annotate(documents(texts), rules)
    assert together.num_rows == len(texts)
    one_by_one = [annotate.annotate(documents(texts).slice(i, 1), rules) for i in reversed(range(len(texts)))]
    assert pa.concat_tables(one_by_one[::-1]).equals(together)
    rows = together.to_pylist()
    assert [row["language"] for row in rows] == ["und", "eng_Latn", "deu_Latn", "und", "eng_Latn"]
    assert [row["lid176_language"] for row in rows] == ["und", "en", "de", "und", "en"]
    assert [row["pii_count"] for row in rows] == [0, 1, 0, 0, 30]
    assert rows[1]["pii"][0]["type"] and PAGE[rows[1]["pii"][0]["start"] : rows[1]["pii"][0]["end"]] == "a@b.org"
    assert rows[0]["n_chars"] == 0 and rows[0]["url_flag"] is None
    spec = schemas.table("annotations")
    assert together.column_names == [name for name in spec.schema.names if name not in spec.partition_by]


def test_only_kept_documents_of_five_words_are_signed():
    sentence = "There are more than five words in this line of text, and it goes on. "
    signed = sign(documents([sentence, sentence, "too short", ""]), {"d0", "d2", "d3"})
    assert signed["doc_id"].to_pylist() == ["d0"]
    assert minhash.from_bytes(signed["signature"].to_pylist()).shape == (1, 112)


@settings(deadline=None)
@given(st.integers(0, 10**12), st.integers(1, 16), st.integers(0, 10**12))
def test_every_offset_belongs_to_exactly_one_range(size, of, offset):
    assert sum(offset in shard.offsets_of(size, index, of) for index in range(of)) == 1


def test_the_number_of_ranges_follows_from_the_file_and_what_its_pages_cost():
    sizes = (0, 1, 4 << 20, 16 << 20, 80 << 20, 1 << 40)
    assert [stages.ranges("a/b.warc.gz", size, "trafilatura") for size in sizes] == [1, 1, 1, 2, 10, 16]
    assert [stages.ranges("a/b.warc.gz", size, "stemma") for size in sizes] == [1, 1, 1, 1, 1, 4]
    assert [stages.ranges("a/b.warc.wet.gz", size, "trafilatura") for size in sizes] == [1] * 6


def job(crawl: Path, home: Path, index: int, of: int) -> ShardJob:
    path = crawl / CRAWL_FILE
    name = hashlib.sha256(CRAWL_FILE.encode()).hexdigest()[:12]
    tables = ("documents", "rejects", "record_counts")
    return ShardJob(
        step="documents",
        shard=name,
        partition={"snapshot": "test", "shard": name},
        inputs={"sha256": file_sha256(path), "warc_path": CRAWL_FILE, "size_bytes": path.stat().st_size},
        config={"range": [index, of], "extractor": "trafilatura"},
        places={"warc": str(path), "home": str(home), "outputs": {table: str(home / table) for table in tables}},
        work=str(home / "work"),
    )


def test_the_ranges_of_a_file_make_the_rows_of_the_whole_file(bundled_crawl, tmp_path):
    rows, counts = [], []
    for of in (1, 3):
        home = tmp_path / str(of)
        done = [shard.run(job(bundled_crawl, home, index, of), lambda: None) for index in range(of)]
        parts = [part for made, _ in done for part in made["documents"]]
        frames = [pl.read_parquet(home / "documents" / part.path, hive_partitioning=False) for part in parts]
        rows.append(pl.concat(frames).sort("warc_offset", "warc_inner_offset"))
        counts.append({kind: sum(made.get(kind, 0) for _, made in done) for kind in done[0][1]})
    assert rows[0].equals(rows[1]) and rows[0].height == 16
    assert counts[0]["page"] == counts[1]["page"] == 16


def test_workers_write_their_parts_to_s3(bundled_crawl, s3, tmp_path):
    path = bundled_crawl / SMALLEST
    entry = {
        "snapshot": ["web-sample-2024"],
        "warc_path": [SMALLEST],
        "shard": [hashlib.sha256(SMALLEST.encode()).hexdigest()[:12]],
        "size_bytes": [path.stat().st_size],
        "sha256": [file_sha256(path)],
    }
    versions = []
    for root, options in (("s3://stemma-test/home", s3), (str(tmp_path / "home"), None)):
        lake = Lake(root, options, local=tmp_path / root.split(":")[0])
        lake.write("crawl_manifest", pl.DataFrame(entry), replace={"snapshot": "web-sample-2024"})
        commit = stages.documents(lake, LocalEngine(1), "web-sample-2024", str(bundled_crawl))
        assert commit.rows == lake.scan("documents").collect().height == 1
        versions.append(commit.data_version)
    assert versions[0] == versions[1]
