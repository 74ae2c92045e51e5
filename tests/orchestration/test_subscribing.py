"""What is followed is said by command, and what the next night would move is seen before it moves."""

import json
import subprocess
import sys
import zipfile

import pytest

from tests.assets.crawl_index.stand_in import SNAPSHOT, build

STEMMA = [sys.executable, "-m", "orchestration.cli"]


@pytest.fixture(scope="module")
def source(tmp_path_factory, bundled_crawl):
    return build(tmp_path_factory.mktemp("source") / "bucket", bundled_crawl)


def stemma(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*STEMMA, *map(str, arguments)], capture_output=True, text=True)


def test_subscribe_and_due_by_command(source, tmp_path):
    home, asked = ("--home", tmp_path), ("crawl", "due", "--home", tmp_path, "--crawl", tmp_path / "crawl")
    assert "nothing is due" in stemma(*asked).stdout
    web = ("subscribe", "web", "--source", source, "--language", "eng", "--records", 20, "--slice-usd", 1)
    assert stemma("crawl", *web, *home).returncode == 0
    refused = stemma("crawl", "subscribe", "web", "--records", 5, *home)
    assert refused.returncode == 2 and "two are called web" in refused.stderr
    both = stemma("crawl", "subscribe", "more", "--records", 5, "--files", 5, *home)
    assert both.returncode == 2 and "exactly one" in both.stderr and len(both.stderr.strip().splitlines()) == 1
    (due,) = json.loads(stemma(*asked, "--json").stdout)["due"]
    assert due["snapshot"] == SNAPSHOT and due["records"] == 20 and due["cost_usd"] == 0
    assert due["bytes"] > 0 and "published" in due["why"]
    shown = stemma(*asked)
    assert shown.returncode == 0 and "$0.0000" in shown.stdout and not (tmp_path / "crawl").exists()


def test_a_wacz_and_a_folder_go_into_stemma_corpus_as_they_are(bundled_crawl, tmp_path):
    inside, beside = (bundled_crawl / "web-sample-2024" / f"cc-whirlwind.warc{kind}.gz" for kind in ("", ".wet"))
    folder = tmp_path / "mine" / "deep"
    folder.mkdir(parents=True)
    (folder / beside.name).write_bytes(beside.read_bytes())
    with zipfile.ZipFile(folder / "site.wacz", "w") as archive:
        archive.write(inside, "archive/data.warc.gz")
    done = stemma("corpus", tmp_path / "mine", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["records"] == 4 + 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]
    import polars as pl

    names = set(pl.read_parquet(tmp_path / "out" / "documents" / "*.parquet")["warc_path"])
    assert names == {beside.name, "site.wacz/site-data.warc.gz"}
    (folder / "site.wacz").write_bytes(b"no zip")
    refused = stemma("corpus", folder / "site.wacz", "--out", tmp_path / "other")
    assert refused.returncode == 2 and "site.wacz" in refused.stderr and not (tmp_path / "other").exists()
