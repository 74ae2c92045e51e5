"""Nights that follow a published crawl: each fetches the next slice, makes its pages, and moves nothing twice."""

import itertools
import shutil
from pathlib import Path

import polars as pl
import pytest

from assets.lake import Lake
from assets.resources import Progress
from orchestration.nightly import run_night
from tests.assets.crawl_index.stand_in import SNAPSHOT, build
from tests.faults.range_server import RangeServer
from tests.orchestration.test_nightly import BUNDLED, settings

FOLLOWED = """
subscriptions:
  - name: web
    follow: [%s]
    source: %s
    per_night: {records: 4}
    select: {limit: 8}
"""
pytestmark = pytest.mark.slow


@pytest.fixture
def published(tmp_path):
    """A web server with a published crawl of one small file."""
    (tmp_path / "files").mkdir()
    shutil.copy(BUNDLED / "dolma-sample-0000.warc.gz", tmp_path / "files")
    with RangeServer(build(tmp_path / "bucket", tmp_path / "files")) as server:
        yield server


def records_of(crawl: Path) -> list[set[str]]:
    """Digests of the payloads that each fetch brought, first fetch first."""
    found = sorted(crawl.glob("fetches/*/records.parquet"), key=lambda path: path.stat().st_mtime_ns)
    return [set(pl.read_parquet(path)["content_digest"]) for path in found]


def test_two_nights_fetch_two_slices_and_a_third_has_nothing_to_do(published, tmp_path, monkeypatch, block_list_cache):
    home, crawl = tmp_path / "home", tmp_path / "crawl"
    crawl.mkdir()
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache)
    (home / "subscriptions.yaml").write_text(FOLLOWED % (SNAPSHOT, published.url))
    settings(monkeypatch, home, crawl)
    first = run_night(home, Progress())
    assert first.succeeded, first.noticed
    pages = set(Lake(home).scan("documents").collect()["doc_id"])
    assert first.report["came"]["snapshots"] == [SNAPSHOT] and len(pages) > 0

    second = run_night(home, Progress())
    assert second.succeeded, second.noticed
    made = [str(node) for node in second.made]
    assert made.count(f"crawl_fetches[{SNAPSHOT}]") == 1 and f"corpus[{SNAPSHOT}]" in made
    assert pages < set(Lake(home).scan("documents").collect()["doc_id"])
    assert second.report["came"]["files"] == 1 and second.report["went"]["files"] == 0
    slices = records_of(crawl)
    assert [len(one) for one in slices] == [4, 4] and not slices[0] & slices[1]

    asked = [one for one in published.served if one[0].endswith(".warc.gz")]
    third = run_night(home, Progress())
    assert third.succeeded and third.made == []
    assert [one for one in published.served if one[0].endswith(".warc.gz")] == asked
    for one, two in itertools.pairwise(sorted(asked)):
        assert one[0] != two[0] or one[2] <= two[1], "no byte was sent twice"
