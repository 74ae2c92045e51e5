"""A subscribed snapshot comes slice by slice, through the graph and in order, and nothing of it comes twice."""

import json
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets import crawl
from assets.chosen import BUNDLED_CRAWL
from assets.crawl_index.fetches import Fetches
from assets.lake import Lake
from assets.resources import CrawlResource, LakeResource, Progress, RecipeResource
from assets.steps import warc
from tests.assets.crawl_index.stand_in import SNAPSHOT, build
from tests.faults.range_server import RangeServer


@pytest.fixture(scope="module")
def source(tmp_path_factory, bundled_crawl):
    """The stand-in for Common Crawl behind a web server."""
    root = build(tmp_path_factory.mktemp("source") / "bucket", bundled_crawl)
    (root / "collinfo.json").write_text(json.dumps([{"id": SNAPSHOT}]))
    with RangeServer(root) as server:
        yield server


class Night:
    """A home with a subscription, and the nights that it lives through."""

    def __init__(self, folder: Path, root: str, *lines: str) -> None:
        self.home, self.root = folder / "home", root
        self.home.mkdir(parents=True)
        text = "subscriptions:\n  - name: web\n    follow: newest\n" + "".join(f"    {line}\n" for line in lines)
        (self.home / "subscriptions.yaml").write_text(text)
        self.instance = dg.DagsterInstance.ephemeral()

    def make(self, snapshot: str = SNAPSHOT) -> dict:
        """Both assets and their checks; the metadata of crawl_fetches."""
        self.instance.add_dynamic_partitions("snapshot", [snapshot])
        done = dg.materialize(
            [crawl.crawl_fetches, crawl.crawl_manifest, crawl.planned_records_are_accounted_for],
            partition_key=snapshot,
            instance=self.instance,
            resources={
                "lake": LakeResource(home=str(self.home)),
                "crawl": CrawlResource(root=self.root),
                "recipe": RecipeResource(name="smoke"),
                "progress": Progress(),
            },
        )
        assert all(one.passed for one in done.get_asset_check_evaluations())
        [made] = done.asset_materializations_for_node("crawl_fetches")
        return {name: value.value for name, value in made.metadata.items()}

    def rows(self, snapshot: str = SNAPSHOT) -> pl.DataFrame:
        return Lake(self.home).scan("crawl_fetches", snapshot=snapshot).collect()


def test_night_after_night_the_whole_selection_comes_once(source, tmp_path):
    night = Night(tmp_path, str(tmp_path / "crawl"), f"source: {source.url}", "per_night: {records: 150}")
    source.served.clear()
    nights = [night.make() for _ in range(4)]
    rows = night.rows()
    assert [one["stemma/fetched_records"] for one in nights] == [*rows["fetched_records"], 0]
    assert rows["is_last"].to_list() == [False, False, True] and nights[-1]["stemma/moved_bytes"] == 0
    assert rows["planned_records"].sum() == rows["fetched_records"].sum() + 1  # one page opts out in its own head
    reasons = [one for row in rows["rejected"].to_list() for one in row]
    assert reasons == [{"reason": "opt_out:noai", "records": 1}]
    moved = sum(one["stemma/moved_bytes"] for one in nights)
    assert moved == rows["planned_bytes"].sum() and all(n["stemma/cost_usd"] == n["stemma/planned_usd"] for n in nights)
    manifest = Lake(night.home).scan("crawl_manifest", snapshot=SNAPSHOT).collect()
    digests = [
        page.payload_digest
        for name in manifest["warc_path"]
        for page in warc.read(tmp_path / "crawl" / name, name)
        if isinstance(page, warc.Page)
    ]
    assert len(digests) == rows["fetched_records"].sum() and len(set(digests)) == len(digests)
    published = pl.read_parquet(tmp_path / "crawl" / "left-out" / SNAPSHOT / "*.parquet")
    left_out = sum(one["records"] for row in rows["left_out"].to_list() for one in row)
    assert published.height == left_out + 1 and published["url"].null_count() == 0
    whole = Night(
        tmp_path / "other", str(tmp_path / "other" / "crawl"), f"source: {source.url}", "per_night: {bytes: 99999999}"
    )
    whole.make()
    assert whole.rows()["fetched_records"].sum() == rows["fetched_records"].sum()


def test_a_second_making_with_nothing_new_asks_for_nothing_and_is_the_same_version(source, tmp_path):
    lines = (f"source: {source.url}", "select: {limit: 20}", "per_night: {records: 50}")
    night = Night(tmp_path, str(tmp_path / "crawl"), *lines)
    first, asked = night.make(), len(source.served)
    again = night.make()
    assert again["stemma/digest"] == first["stemma/digest"] and again["stemma/config"] == first["stemma/config"]
    assert [name for name, _, _ in source.served[asked:] if not name.endswith("collinfo.json")] == []


def test_a_snapshot_that_lies_there_is_given_and_costs_nothing(bundled_crawl, tmp_path):
    night = Night(tmp_path, str(bundled_crawl), "source: http://127.0.0.1:9", "per_night: {records: 5}")
    made = night.make("web-sample-2024")
    rows = night.rows("web-sample-2024")
    assert rows["kind"].to_list() == ["given"] and rows["planned_records"].sum() == 0
    assert made["stemma/moved_bytes"] == 0 and made["stemma/cost_usd"] == 0
    (night.home / "subscriptions.yaml").unlink()
    assert night.make("web-sample-2024")["stemma/digest"] == made["stemma/digest"]


def test_a_slice_that_was_interrupted_goes_on_with_the_same_plan(source, tmp_path, monkeypatch):
    from assets.crawl_index import taking

    lines = (f"source: {source.url}", "per_night: {records: 60}")
    calm, wild = (Night(tmp_path / name, str(tmp_path / name / "crawl"), *lines) for name in ("calm", "wild"))
    calm.make()

    def interrupted(*arguments, progress, **options):
        def stop(done: int, total: int) -> None:
            if done > 20:
                raise RuntimeError("the night was cut short")

        return fetch(*arguments, progress=stop, **options)

    fetch = taking.fetch
    with monkeypatch.context() as patch:
        patch.setattr(taking, "fetch", interrupted)
        with pytest.raises(RuntimeError, match="cut short"):
            wild.make()
    assert Fetches.read(wild.root).done == []
    wild.make()
    wild.make()
    calm.make()
    assert wild.rows().equals(calm.rows())
    assert {one.name for one in Fetches.read(wild.root).done} == {one.name for one in Fetches.read(calm.root).done}


def test_a_crawl_root_in_a_bucket_ends_with_the_bytes_of_a_local_one(source, s3, tmp_path, monkeypatch):
    import s3fs

    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    lines = (f"source: {source.url}", "per_night: {records: 120}")
    here = Night(tmp_path / "here", str(tmp_path / "here" / "crawl"), *lines)
    there = Night(tmp_path / "there", "s3://stemma-test/crawls/web", *lines)
    for _ in range(2):
        assert {**here.make(), **there.make()}["stemma/moved_bytes"] > 0
    assert there.rows().equals(here.rows())
    fs = s3fs.S3FileSystem(endpoint_url=s3["AWS_ENDPOINT_URL"], skip_instance_cache=True)
    local = {str(p.relative_to(here.root)): p.read_bytes() for p in Path(here.root).rglob("*") if p.is_file()}
    base = "stemma-test/crawls/web"
    remote = {path.removeprefix(f"{base}/"): fs.cat_file(path) for path in fs.find(base)}
    assert {n: b for n, b in local.items() if not n.startswith(".fetch")} == remote
    lost = Night(tmp_path / "another-machine", "s3://stemma-test/crawls/web", *lines)
    assert lost.make()["stemma/fetched_records"] > 0 and lost.rows().height == 3


def test_nothing_is_fetched_into_the_crawl_that_comes_along(source, tmp_path):
    night = Night(tmp_path, str(BUNDLED_CRAWL), f"source: {source.url}", "per_night: {records: 5}")
    with pytest.raises(Exception, match="STEMMA_CRAWL"):
        night.make()
