"""The `documents`: every page of a snapshot with its text and its place, and every unreadable record typed."""

import dagster as dg
import polars as pl

from assets import schemas
from assets.conventions import Group, blocking_check, stage
from assets.making import making
from assets.resources import CrawlResource, Engine, LakeResource, Progress, RecipeResource


@dg.asset(
    **stage(
        Group.PAGES,
        kinds={"deltalake", "datatrove"},
        version="1",
        per_snapshot=True,
        schema=schemas.table("documents").schema,
    ),
    deps=["crawl_manifest"],
)
def documents(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    crawl: CrawlResource,
    engine: dg.ResourceParam[Engine],
    recipe: RecipeResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """One row per page: text, address, digest, its exact place in the crawl; beside it rejects and record counts."""
    from assets import policy
    from assets.steps import stages

    with making(context, lake, recipe, progress) as made:
        chosen = policy.load(made.policy)
        reading = {"extractor": chosen.extractor, "opt_outs": chosen.opt_outs == "honoured"}
        commit = stages.documents(made.lake, engine, made.partition, crawl.place, made.advance, **reading)
        counts = made.lake.scan("record_counts", snapshot=made.partition).group_by("kind").agg(pl.col("records").sum())
        return made.result(commit, {"records": dg.MetadataValue.json(dict(counts.sort("kind").collect().rows()))})


@blocking_check(documents, description="Every record is accounted for: read == pages + skipped + rejects.")
def records_are_accounted_for(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    opened, snapshot = lake.open(), context.partition_key
    counts = opened.scan("record_counts", snapshot=snapshot).select("kind", "records").collect()
    counted = {kind: int(counts.filter(pl.col("kind") == kind)["records"].sum()) for kind in ("page", "reject")}
    rows = {"page": _rows(opened.scan("documents", snapshot=snapshot))}
    rows["reject"] = _rows(opened.scan("rejects", snapshot=snapshot))
    files = set(opened.scan("crawl_manifest", snapshot=snapshot).collect()["warc_path"])
    read = set(opened.scan("record_counts", snapshot=snapshot).collect()["warc_path"])
    metadata = {"counted": counted, "rows": rows, "files_without_counts": sorted(files - read)}
    return dg.AssetCheckResult(
        passed=counted == rows and files == read,
        metadata={"accounts": dg.MetadataValue.json(metadata)},
    )


@blocking_check(documents, description="No two pages of the snapshot share a doc_id.")
def doc_ids_are_unique(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    ids = lake.open().scan("documents", snapshot=context.partition_key).select("doc_id").collect()["doc_id"]
    return dg.AssetCheckResult(passed=ids.n_unique() == len(ids), metadata={"twice": len(ids) - ids.n_unique()})


def _rows(frame: pl.LazyFrame) -> int:
    return int(frame.select(pl.len()).collect().item())
