"""What came of a snapshot and how (`crawl_fetches`), and which WARC files it has, with sha256 (`crawl_manifest`)."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets import schemas
from assets.chosen import BUNDLED_CRAWL
from assets.conventions import Group, Pool, blocking_check, stage
from assets.crawl_roots import followed, listing
from assets.making import making
from assets.parts import filesystem
from assets.resources import CrawlResource, LakeResource, Progress, RecipeResource

READ_BYTES = 1 << 20


class CrawlIsBundled(ValueError):
    """A subscription would fetch into the crawl that comes along with the project."""


def manifest_rows(root: str, snapshot: str) -> pl.DataFrame:
    """The rows of `crawl_manifest` for one snapshot; every file is read once for its sha256."""
    fs, base = filesystem(root)
    rows = []
    for path, size in listing(root, snapshot):
        hasher = hashlib.sha256()
        with fs.open(f"{base.rstrip('/')}/{path}", "rb") as handle:
            while block := handle.read(READ_BYTES):
                hasher.update(block)
        shard = hashlib.sha256(path.encode()).hexdigest()[:12]
        rows.append((snapshot, path, shard, size, hasher.hexdigest()))
    return pl.DataFrame(rows, orient="row", schema=["snapshot", "warc_path", "shard", "size_bytes", "sha256"])


def take_due(home: Path, root: str, snapshot: str, advance: Callable[[int, int], None]) -> dict[str, Any]:
    """Fetches a snapshot's next slice into the crawl root, where a subscription makes it due; the metadata of what it
    cost. Raises CrawlIsBundled, SubscriptionsUnusable, and what `crawl_index.taking.take` raises."""
    from assets.crawl_index.subscriptions import discover, find, load
    from assets.crawl_index.taking import Taken, take
    from assets.steps.ledger import Ledger

    due = discover(load(find(home)), root, snapshot=snapshot)
    if due and root == str(BUNDLED_CRAWL):
        raise CrawlIsBundled(f"{snapshot} is subscribed to: set STEMMA_CRAWL to a folder or s3:// root of your own")
    stage = home / "crawl" / hashlib.sha256(root.encode()).hexdigest()[:12]
    refusal = Ledger(home).refusal()
    taken = take(due[0].subscription, snapshot, root, stage, refusal=refusal, progress=advance) if due else Taken()
    return taken.metadata()


@dg.asset(
    **stage(
        Group.PAGES,
        kinds={"deltalake"},
        version="1",
        pool=Pool.CRAWL,
        per_snapshot=True,
        schema=schemas.table("crawl_fetches").schema,
    )
)
def crawl_fetches(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    crawl: CrawlResource,
    recipe: RecipeResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """What was fetched of a snapshot, what it cost, what was rejected or left out; of a subscribed one, its next slice
    is fetched first."""
    from assets.crawl_index import accounts

    snapshot = context.partition_key
    with making(context, lake, recipe, progress, follows=followed(lake.path, snapshot)) as made:
        cost = take_due(lake.path, crawl.place, snapshot, lambda done, total: made.advance(done, total, "records"))
        rows = accounts.table(crawl.place, snapshot)
        return made.result(made.lake.write("crawl_fetches", rows, replace={"snapshot": snapshot}), cost)


@blocking_check(crawl_fetches, description="Every planned record was fetched, rejected with a reason, or left out.")
def planned_records_are_accounted_for(
    context: dg.AssetCheckExecutionContext, lake: LakeResource, crawl: CrawlResource
) -> dg.AssetCheckResult:
    from assets.crawl_index import accounts

    rows = lake.open().scan("crawl_fetches", snapshot=context.partition_key).collect()
    rejected = pl.col("rejected").list.eval(pl.element().struct.field("records")).list.sum().fill_null(0)
    wrong = rows.filter(pl.col("planned_records") != pl.col("fetched_records") + rejected)["fetch"].to_list()
    lost = accounts.unaccounted(crawl.place, context.partition_key)
    return dg.AssetCheckResult(
        passed=rows.height > 0 and not wrong and not lost,
        metadata={"fetches": rows.height, "wrong": dg.MetadataValue.json(wrong), "lost": dg.MetadataValue.json(lost)},
    )


@dg.asset(
    **stage(
        Group.PAGES,
        kinds={"deltalake"},
        version="1",
        pool=Pool.CRAWL,
        per_snapshot=True,
        schema=schemas.table("crawl_manifest").schema,
    ),
    deps=["crawl_fetches"],
)
def crawl_manifest(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    crawl: CrawlResource,
    recipe: RecipeResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """The WARC files of a snapshot: path below the crawl root, size, sha256 and the shard that the file becomes."""
    snapshot = context.partition_key
    with making(context, lake, recipe, progress, files=listing(crawl.place, snapshot)) as made:
        rows = manifest_rows(crawl.place, snapshot)
        commit = made.lake.write("crawl_manifest", rows, replace={"snapshot": snapshot})
        return made.result(commit, {"stemma/crawl_bytes": int(rows["size_bytes"].sum())})


@blocking_check(crawl_manifest, description="Every file is listed once, and there is at least one.")
def files_are_listed_once(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    rows = lake.open().scan("crawl_manifest", snapshot=context.partition_key).collect()
    twice = rows.height - rows["shard"].n_unique()
    return dg.AssetCheckResult(passed=rows.height > 0 and twice == 0, metadata={"files": rows.height, "twice": twice})
