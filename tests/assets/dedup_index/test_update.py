"""The index and its table: the same bytes in any order, as a clustering of everything, old snapshots never read."""

import gzip
import json
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from assets import dedup_index
from assets.dedup_index.index import Index
from assets.lake import Lake
from assets.steps import clusters, stages
from kernels.text import minhash
from tests.assets.dedup_index.lakes import Page, commit, take_away

REPO = Path(__file__).resolve().parents[3]


@cache
def articles(shared_data: Path) -> list[str]:
    """Real news articles, ten pairs of them near-copies."""
    with gzip.open(shared_data / "dedup" / "articles-1000.jsonl.gz", "rt") as file:
        return [json.loads(line)["text"] for line in file]


def crawl_of(texts: list[str], snapshots: int, seed: int = 3) -> dict[str, list[Page]]:
    """The texts as pages of some snapshots; a third is met again, as it was or changed, in other snapshots."""
    draw = random.Random(seed)
    made: dict[str, list[Page]] = {f"s{k}": [] for k in range(snapshots)}
    for number, text in enumerate(texts):
        language = "eng_Latn" if number % 5 else "deu_Latn"
        for again in range(draw.choice([1, 1, 2, 4])):
            words = text.split(" ")
            if again and draw.random() < 0.6:
                for _ in range(draw.choice([1, 3, 9])):
                    words[draw.randrange(len(words))] = draw.choice(words)
            page = Page(f"{number:06d}-{again:04d}", " ".join(words), draw.randrange(40), language, draw.randint(1, 3))
            made[f"s{draw.randrange(snapshots)}"].append(page)
    return made


def everything_at_once(crawl: dict[str, list[Page]], scratch: Path) -> dict[str, tuple]:
    """cluster, survivor, similarity, reason and documents of the cluster by doc_id: a clustering of all pages."""
    found = {}
    for language in sorted({page.language for pages in crawl.values() for page in pages}):
        of = [(name, page) for name, pages in crawl.items() for page in pages if page.language == language]
        lake = Lake(scratch / language)
        commit(lake, "all", [page for _, page in of])
        documents = lake.scan("documents").collect()
        signed = documents.select(
            "doc_id",
            pl.col("text")
            .map_elements(
                lambda text: None if (one := minhash.signature(text)) is None else minhash.to_bytes(one),
                return_dtype=pl.Binary,
            )
            .alias("signature"),
        ).drop_nulls()
        members = documents.select("doc_id", pl.lit("s").alias("shard"), "fetched_at", "content_hash")
        rows = clusters.find(
            members,
            lambda signed=signed: [("s", signed.to_arrow())],
            lambda documents=documents: [("s", documents.select("doc_id", "text").to_arrow())],
            scratch / language / "scratch",
            line_filter="none",
        )
        sizes = pl.DataFrame([(page.doc_id, page.documents) for _, page in of], ["doc_id", "documents"], orient="row")
        size = dict(rows.join(sizes, on="doc_id").group_by("cluster_id").agg(pl.col("documents").sum()).iter_rows())
        columns = ("doc_id", "cluster_id", "survivor", "similarity", "reason")
        found |= {row[0]: (*row[1:], size[row[1]]) for row in rows.select(columns).iter_rows()}
    return found


def said(lake: Lake) -> dict[str, tuple]:
    columns = ("doc_id", "cluster_id", "survivor", "similarity", "reason", "cluster_size")
    return {row[0]: row[1:] for row in lake.scan("corpus_clusters").select(columns).collect().iter_rows()}


def update(lake: Lake) -> str:
    return stages.corpus_clusters(lake, line_filter="none").data_version


def files(home: Path) -> dict[str, bytes]:
    folder = home / dedup_index.FOLDER
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


@pytest.fixture(scope="module")
def crawl(shared_data) -> dict[str, list[Page]]:
    return crawl_of(articles(shared_data)[:150], 5)


@pytest.fixture(scope="module")
def whole(crawl, tmp_path_factory) -> Path:
    """A home that holds all snapshots, indexed at once."""
    home = tmp_path_factory.mktemp("whole") / "home"
    lake = Lake(home)
    for name, pages in crawl.items():
        commit(lake, name, pages)
    update(lake)
    return home


def test_it_is_the_clustering_of_all_documents_at_once(crawl, whole, tmp_path):
    expected = everything_at_once(crawl, tmp_path)
    assert said(Lake(whole)) == expected
    reasons = [row[3] for row in expected.values()]
    assert reasons.count("exact_duplicate") > 20 and reasons.count("near_duplicate") > 20


@pytest.mark.slow
def test_real_pages_in_six_snapshots_are_clustered_as_in_one_and_their_near_duplicates_found(shared_data, tmp_path):
    with gzip.open(shared_data / "pages" / "webpages.gold.jsonl.gz", "rt") as file:
        rows = [row for row in map(json.loads, file) if row["text"]]
    crawl: dict[str, list[Page]] = {f"s{k}": [] for k in range(6)}
    for number, row in enumerate(sorted(rows, key=lambda row: row["record_id"])):
        crawl[f"s{number % 6}"].append(Page(row["record_id"][10:-1], row["text"], number % 17))
    lake = Lake(tmp_path / "home")
    for name in ("s3", "s0", "s5", "s1", "s4", "s2"):
        commit(lake, name, crawl[name])
        update(lake)
    found = said(lake)
    assert found == everything_at_once(crawl, tmp_path)
    with (shared_data / "dedup" / "webpages-near-dup-pairs.tsv").open() as file:
        pairs = [line.split("\t")[:3] for line in file.read().splitlines()[1:]]
    alike = [(one[10:-1], other[10:-1]) for jaccard, one, other in pairs if float(jaccard) >= 0.95]
    signed = {page.doc_id for pages in crawl.values() for page in pages if len(page.text.split()) >= 5}
    alike = [(one, other) for one, other in alike if one in signed and other in signed]
    assert len(alike) > 20 and sum(found[one][0] == found[other][0] for one, other in alike) >= 0.95 * len(alike)


def test_twenty_orders_of_arrival_give_the_same_bytes_and_the_same_version(crawl, whole, tmp_path):
    version, expected = Lake(whole).version_of("corpus_clusters"), files(whole)
    draw = random.Random(1)
    for turn in range(20):
        lake, order = Lake(tmp_path / str(turn)), draw.sample(sorted(crawl), len(crawl))
        while order:
            for name in [order.pop() for _ in range(min(len(order), draw.randint(1, 2)))]:
                commit(lake, name, crawl[name])
            last = update(lake)
        assert last == version and files(tmp_path / str(turn)) == expected
        shutil.rmtree(tmp_path / str(turn))


def test_what_leaves_in_any_order_leaves_the_index_that_never_held_it(crawl, whole, tmp_path):
    left = {"s1": crawl["s1"], "s3": crawl["s3"][::2]}
    fresh = Lake(tmp_path / "fresh")
    for name, pages in left.items():
        commit(fresh, name, pages)
    version = update(fresh)
    gone = [page.doc_id for name, pages in crawl.items() for page in pages if page not in left.get(name, [])]
    for order in (["s0", "s2", "s3", "s4"], ["s4", "s3", "s2", "s0"], ["s3", "s0", "s4", "s2"]):
        home = shutil.copytree(whole, tmp_path / "".join(order))
        lake = Lake(home)
        for name in order:
            commit(lake, name, left[name]) if name in left else take_away(lake, name)
            last = update(lake)
        assert last == version and files(home) == files(tmp_path / "fresh")
        assert dedup_index.held(home, gone) == {} and dedup_index.held(whole, gone)
        for table in ("documents", "corpus", "corpus_clusters"):
            lake.vacuum(table)
        everything = b"".join(path.read_bytes() for path in (home / dedup_index.FOLDER).rglob("*") if path.is_file())
        assert not [one for one in gone if one.encode() in everything]


def test_a_new_snapshot_reads_no_table_of_an_old_one(crawl, whole, tmp_path):
    lake = Lake(shutil.copytree(whole, tmp_path / "home"))
    commit(lake, "s9", [replace(page, doc_id=f"new-{page.doc_id}", day=60) for page in crawl["s0"][:10]])
    old = [file for table in ("documents", "corpus") for name in crawl for file in lake.files(table, snapshot=name)]
    moved = [Path(file).rename(Path(file).with_suffix(".away")) for file in old]
    assert moved  # what is not there cannot be read, by whatever library
    lake.reads.clear()
    update(lake)
    assert {name for name, _ in lake.reads} == {"corpus", "documents"}
    rows = lake.scan("corpus_clusters", snapshot="s9").collect()
    assert rows.height == 10 and not rows["survivor"].any()


def test_files_of_snapshots_without_a_changed_row_stay_as_they_are(crawl, whole, tmp_path):
    lake = Lake(shutil.copytree(whole, tmp_path / "home"))
    before = {part.path for part in lake.parts("corpus_clusters")}
    one = next(page for page in crawl["s2"] if said(lake)[page.doc_id][4] == page.documents)
    commit(lake, "s9", [Page("new", one.text, 60, one.language)])
    update(lake)
    after = {part.path for part in lake.parts("corpus_clusters")}
    assert len(after - before) == 2 and len(before - after) == 1  # its own, and the one whose cluster grew
    assert said(lake)["new"] == (one.doc_id, False, 1.0, "exact_duplicate", one.documents + 1)


def test_nothing_new_changes_nothing(whole, tmp_path):
    home = shutil.copytree(whole, tmp_path / "home")
    before, logged = files(home), len(list((home / "lake" / "corpus_clusters" / "_delta_log").glob("*.json")))
    assert update(Lake(home)) == Lake(whole).version_of("corpus_clusters")
    assert files(home) == before
    assert len(list((home / "lake" / "corpus_clusters" / "_delta_log").glob("*.json"))) == logged


def test_the_next_survivor_of_another_snapshot_is_promoted(tmp_path, shared_data):
    lake, text = Lake(tmp_path), articles(shared_data)[0]
    commit(lake, "a", [Page("first", text, 1), Page("other", articles(shared_data)[1], 2)])
    commit(lake, "b", [Page("second", text, 3)])
    commit(lake, "c", [Page("third", text.replace("the", "a", 1), 2)])
    update(lake)
    assert {doc_id: row[0] for doc_id, row in said(lake).items()} == {
        "first": "first", "second": "first", "third": "first", "other": "other",
    }  # fmt: skip
    commit(lake, "a", [Page("other", articles(shared_data)[1], 2)])
    update(lake)
    assert {doc_id: row[:2] for doc_id, row in said(lake).items()} == {
        "third": ("third", True), "second": ("third", False), "other": ("other", True),
    }  # fmt: skip


def test_a_damaged_file_is_named_and_another_rule_makes_the_index_anew(whole, tmp_path):
    home = shutil.copytree(whole, tmp_path / "home")
    folder = home / dedup_index.FOLDER
    Index.load(folder).verify(folder)
    path = next(folder.glob("*.segment"))
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)
    with pytest.raises(dedup_index.CorruptIndex, match=path.stem):
        Index.load(folder).verify(folder)
    stages.corpus_clusters(Lake(home), 0.9, "none")
    other = {row[0]: row[1] for row in Lake(home).scan("corpus_clusters").select("doc_id", "survivor").collect().rows()}
    assert sum(other.values()) > sum(row[1] for row in said(Lake(whole)).values())


KILLED = """
import os, signal, sys
from assets.lake import Lake
from assets.steps import stages
steps, last = 0, int(sys.argv[2])
def count(event, args):
    global steps
    if event in ("os.rename", "os.remove", "open") and "/home/" in str(args[0]):
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)
lake = Lake(sys.argv[1])
lake.exists("corpus")
sys.addaudithook(count)
stages.corpus_clusters(lake, line_filter="none")
print(steps)
"""


@pytest.mark.slow
def test_killed_at_any_of_twenty_points_the_next_run_ends_with_the_same_bytes(crawl, whole, tmp_path):
    """Killed by SIGKILL at a random one of its openings, renamings and removals of files."""
    start = shutil.copytree(whole, tmp_path / "start" / "home")
    commit(Lake(start), "s2", crawl["s2"][3:])
    commit(Lake(start), "s9", [replace(page, doc_id=f"new-{page.doc_id}", day=60) for page in crawl["s0"][:10]])

    def attempt(home: Path, point: int) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-c", KILLED, str(home), str(point)], cwd=REPO, capture_output=True)

    done = attempt(shutil.copytree(start, tmp_path / "undisturbed" / "home"), -1)
    assert done.returncode == 0, done.stderr.decode()
    version = Lake(tmp_path / "undisturbed" / "home").version_of("corpus_clusters")
    for turn, point in enumerate(random.Random(2).sample(range(1, int(done.stdout) + 1), 20)):
        home = shutil.copytree(start, tmp_path / str(turn) / "home")
        assert attempt(home, point).returncode == -signal.SIGKILL
        lake = Lake(home)
        assert lake.version_of("corpus_clusters") in (version, Lake(whole).version_of("corpus_clusters"))
        assert update(lake) == version
        assert files(home) == files(tmp_path / "undisturbed" / "home")
        shutil.rmtree(tmp_path / str(turn))
