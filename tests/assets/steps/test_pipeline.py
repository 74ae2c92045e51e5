"""The whole data plane on real files: every page accounted for, the same bytes however it is run, whole or absent."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import psutil
import pytest

from assets.lake import Lake
from assets.policy import PolicyError, load
from assets.steps import funnel
from assets.steps.jobs import RECORD
from assets.steps.pipeline import InputMissing, OutputTaken, run_corpus
from assets.steps.warc import read_record
from kernels.text import c4, pii
from orchestration.engines.local import LocalEngine

REPO = Path(__file__).resolve().parents[3]
FILES = (
    "web-sample-2024/dolma-sample-0000.warc.gz",
    "web-sample-2024/cc-whirlwind.warc.gz",
    "CC-MAIN-2020-34/CC-MAIN-20200808165417-20200808195417-00395.warc.gz",
)


@pytest.fixture(scope="session")
def cache(block_list_cache) -> Path:
    return block_list_cache


@pytest.fixture(scope="session")
def inputs(bundled_crawl, tmp_path_factory) -> list[Path]:
    """Three real files, a copy of the smallest under another name, and one that is no archive."""
    folder = tmp_path_factory.mktemp("warcs")
    for name in FILES:
        shutil.copy(bundled_crawl / name, folder)
    shutil.copy(bundled_crawl / FILES[1], folder / "the-same-again.warc.gz")
    (folder / "no-archive.warc.gz").write_bytes(b"this is no archive at all")
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def whole(inputs, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, run_corpus(inputs, out, LocalEngine(1), cache=cache)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def table(out: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(out / name / "*.parquet")


def test_every_page_is_kept_or_dropped_for_a_reason(whole):
    out, counted = whole
    pages = table(out, "documents")
    saved = json.loads((out / "funnel.json").read_text())
    assert saved == counted.to_json()
    assert saved["in"] == saved["kept"] + sum(saved["dropped"].values()) == pages.height > 30
    assert saved["records"] == saved["pages"] + sum(saved["skipped"].values()) + sum(saved["rejects"].values())
    assert pages.filter(pl.col("verdict") == "kept").height == saved["kept"] == table(out, "corpus").height
    reasons = dict(pages.filter(pl.col("verdict") == "dropped").group_by("reason").len().iter_rows())
    assert reasons == saved["dropped"]
    assert pages["doc_id"].n_unique() == pages.height
    assert pages.filter(pl.col("verdict") == "kept")["reason"].null_count() == saved["kept"]


def test_a_file_given_twice_gives_its_pages_once(whole):
    out, counted = whole
    rejects = table(out, "rejects")
    again = rejects.filter(pl.col("reason") == "duplicate_record_id")
    assert again["warc_path"].to_list() == ["the-same-again.warc.gz"]
    assert "cc-whirlwind.warc.gz" in again["detail"].item()
    assert counted.rejects["duplicate_record_id"] == 1


def test_bytes_that_are_no_archive_are_a_typed_reject(whole):
    rejects = table(whole[0], "rejects")
    assert rejects.filter(pl.col("warc_path") == "no-archive.warc.gz").height == 1


def test_corpus_text_is_the_cleaned_page_without_personal_data(whole):
    out, _ = whole
    pages = table(out, "documents").select("doc_id", pl.col("text").alias("page"))
    for row in table(out, "corpus").join(pages, on="doc_id").iter_rows(named=True):
        assert row["text"] == pii.scrub(c4.clean(row["page"]).text, row["doc_id"])
        assert pii.find(row["text"]) == []
        assert row["text_bytes"] == len(row["text"].encode()) > 0


def test_a_corpus_row_leads_back_to_its_record(whole, inputs):
    out, _ = whole
    folder = inputs[0].parent
    for row in table(out, "corpus").head(5).iter_rows(named=True):
        place = (row["warc_path"], row["warc_offset"], row["warc_length"], row["warc_inner_offset"])
        page = read_record(folder / row["warc_path"], *place)
        assert (page.doc_id, page.payload_digest, page.url) == (row["doc_id"], row["payload_digest"], row["url"])


def test_the_bytes_do_not_depend_on_workers_order_or_place(whole, inputs, cache, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = [Path(shutil.copy(path, elsewhere)) for path in reversed(inputs)]
    run_corpus(moved, tmp_path / "out", LocalEngine(2), cache=cache)
    assert digests(tmp_path / "out") == digests(whole[0])


RUN = """
import sys
from pathlib import Path
from assets.steps.pipeline import run_corpus
from orchestration.engines.local import LocalEngine
run_corpus([Path(p) for p in sys.argv[3:]], sys.argv[1], LocalEngine(2), cache=sys.argv[2])
"""


def test_a_killed_run_leaves_nothing_half_written_and_is_taken_up_again(whole, inputs, cache, tmp_path):
    out = tmp_path / "out"
    scratch = tmp_path / ".out.partial"
    command = [sys.executable, "-c", RUN, str(out), str(cache), *map(str, inputs)]
    process = subprocess.Popen(command, cwd=REPO, env={**os.environ, "PYTHONPATH": str(REPO)})
    deadline = time.monotonic() + 300
    while len(list(scratch.rglob(RECORD))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    orphans = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in scratch.rglob(RECORD)}
    assert finished and not out.exists()
    _, alive = psutil.wait_procs(orphans, timeout=300)
    assert not alive, "workers end with their parent"
    done: list[tuple[str, int]] = []
    run_corpus(inputs, out, LocalEngine(1), on_progress=lambda stage, n, *_: done.append((stage, n)), cache=cache)
    assert done[0][0] == "documents" and done[0][1] >= 2, "finished shards were used again"
    assert digests(out) == digests(whole[0])
    assert not scratch.exists()


def test_bad_input_is_refused_before_anything_is_written(inputs, tmp_path):
    engine = LocalEngine(1)
    with pytest.raises(InputMissing, match=r"nowhere\.warc\.gz: no such file"):
        run_corpus([*inputs, tmp_path / "nowhere.warc.gz"], tmp_path / "out", engine)
    with pytest.raises(InputMissing, match="a folder"):
        run_corpus([inputs[0].parent], tmp_path / "out", engine)
    with pytest.raises(PolicyError, match="unknown policy nonsense"):
        run_corpus(inputs, tmp_path / "out", engine, policy="nonsense")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_not_replaced(inputs, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputTaken, match="holds other files"):
        run_corpus(inputs, tmp_path, LocalEngine(1))
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_funnel_that_does_not_add_up_is_refused(whole):
    _, counted = whole
    broken = funnel.Funnel(**{**vars(counted), "kept": counted.kept + 1})
    with pytest.raises(funnel.AccountingError, match="pages are not"):
        broken.check()


def test_the_plot_is_the_same_bytes_each_time(whole):
    _, counted = whole
    for kind, start in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        drawn = funnel.draw(counted, kind)
        assert drawn.startswith(start) and drawn == funnel.draw(counted, kind)
    for reason in counted.dropped:
        assert dict(funnel.rows(counted))[reason] == counted.dropped[reason]


def test_the_funnel_refuses_tables_that_disagree(tmp_path):
    lake = Lake(tmp_path)
    for name in ("crawl_manifest", "documents", "rejects", "decisions", "duplicate_clusters", "corpus", "annotations"):
        lake.commit(name, [], replace={"snapshot": "A"})
    row = {"snapshot": ["A"], "shard": ["s"], "warc_path": ["A/x"], "kind": ["page"], "records": [1]}
    lake.write("record_counts", pl.DataFrame(row), replace={"snapshot": "A"})
    with pytest.raises(funnel.AccountingError, match="pages in record_counts and documents differ: 1 and 0"):
        funnel.count(lake, load("fineweb"), "A")
