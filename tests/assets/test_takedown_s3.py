"""A takedown where the tables lie in a bucket: no object holds the text afterwards, earlier versions neither."""

import polars as pl

from assets import policy
from assets.crawl import manifest_rows
from assets.lake import Lake
from assets.parts import filesystem
from assets.reach import reach
from assets.steps import stages
from assets.steps.ledger import Ledger
from assets.steps.scopes import scope
from assets.takedowns import apply
from tests.assets.byte_search import holding
from tests.assets.takedown_crawl import SNAPSHOT, write_crawl

RULES = policy.load("fineweb")


def downloaded(lake: Lake, to) -> None:
    """Every object below the lake's root, as files."""
    fs, base = filesystem(lake.root, lake.storage_options)
    fs.invalidate_cache()
    for path in fs.find(base):
        place = to / path[len(base) + 1 :]
        place.parent.mkdir(parents=True, exist_ok=True)
        fs.get_file(path, str(place))


def test_no_object_of_the_bucket_holds_the_text_afterwards(tmp_path, bundled_crawl, here_engine, s3, block_list_cache):
    root, home, engine = tmp_path / "crawl", tmp_path / "home", here_engine()
    files = write_crawl(root, bundled_crawl)
    home.mkdir()
    (home / "cache").symlink_to(block_list_cache)
    lake = Lake("s3://stemma-test/takedown", s3, home)
    lake.write("crawl_manifest", manifest_rows(str(root), SNAPSHOT), replace={"snapshot": SNAPSHOT})
    stages.documents(lake, engine, SNAPSHOT, str(root))
    stages.annotations(lake, engine, SNAPSHOT)
    stages.decisions(lake, SNAPSHOT, RULES)
    stages.signatures(lake, engine, SNAPSHOT)
    stages.duplicate_clusters(lake, SNAPSHOT)
    stages.repeated_text(lake, SNAPSHOT, RULES.dedup)
    stages.corpus(lake, engine, SNAPSHOT)
    page = files[0][1]
    others = lake.scan("documents").filter(pl.col("doc_id") != page.doc_id).collect()
    lake.write("documents", lake.scan("documents").collect(), replace={"snapshot": SNAPSHOT})
    downloaded(lake, tmp_path / "before")
    assert holding(tmp_path / "before", [page.text]), "the search must find it before"
    Ledger(home).add(scope("text", page.text), "Ann", "hers")
    (report,) = apply(lake, engine, RULES)
    assert report["deleted"]["documents"] == len(report["found"]) == 2  # the page and its copy
    downloaded(lake, tmp_path / "after")
    assert holding(tmp_path / "after", [page.text]) == set() == holding(home, [page.text])
    assert lake.scan("documents").collect().height == others.height - 1
    assert reach(lake, scope("url", page.url)).holdings == []
