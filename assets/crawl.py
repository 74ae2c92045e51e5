"""The `crawl_manifest`: which WARC files a snapshot has, with size and sha256, so that a changed file is noticed."""

import hashlib

import dagster as dg
import polars as pl

from assets import schemas
from assets.conventions import Group, Pool, blocking_check, stage
from assets.making import making
from assets.parts import filesystem
from assets.resources import CrawlResource, LakeResource, Progress, RecipeResource

SUFFIXES = (".warc", ".warc.gz", ".warc.wet", ".warc.wet.gz", ".wet.gz", ".wet")
READ_BYTES = 1 << 20


class CrawlMissing(LookupError):
    """The crawl root, or a snapshot of it, is not there or holds no WARC file."""


def snapshots(root: str) -> list[str]:
    """Names of the snapshots under a crawl root: its folders that hold WARC files, sorted. Raises CrawlMissing."""
    fs, base = filesystem(root)
    if not fs.isdir(base):
        raise CrawlMissing(f"the crawl root {root} is not a folder")
    found = {path.removeprefix(base.rstrip("/") + "/").split("/")[0] for path in _warc_files(fs, base)}
    if not found:
        raise CrawlMissing(f"the crawl root {root} holds no WARC file: expected {root}/<snapshot>/*.warc.gz")
    return sorted(found)


def listing(root: str, snapshot: str) -> list[tuple[str, int]]:
    """(path below the root, bytes) of every WARC file of a snapshot, sorted. Raises CrawlMissing."""
    fs, base = filesystem(root)
    files = _warc_files(fs, f"{base.rstrip('/')}/{snapshot}") if fs.isdir(base) else []
    if not files:
        raise CrawlMissing(f"{root} holds no WARC file of the snapshot {snapshot}")
    start = base.rstrip("/") + "/"
    return [(path.removeprefix(start), int(fs.info(path)["size"])) for path in files]


def _warc_files(fs, folder: str) -> list[str]:
    found = fs.find(folder)
    return sorted(path for path in found if path.endswith(SUFFIXES) and path.count("/") > folder.count("/"))


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


@dg.asset(
    **stage(
        Group.PAGES,
        kinds={"deltalake"},
        version="1",
        pool=Pool.CRAWL,
        per_snapshot=True,
        schema=schemas.table("crawl_manifest").schema,
    )
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
