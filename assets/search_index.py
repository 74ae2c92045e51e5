"""The `search_index`: which pages have a word in text, url or host, kept and dropped alike. It stores no text."""

import dagster as dg
import polars as pl

from assets.conventions import Group, blocking_check, stage
from assets.making import making
from assets.resources import LakeResource, Progress, RecipeResource


@dg.asset(
    **stage(Group.PAGES, kinds={"tantivy"}, version="1", per_snapshot=True),
    deps=["documents"],
)
def search_index(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """A full-text index of every shard, in STEMMA_HOME/search. Shards that have the same pages are not read again."""
    from assets.searching import index

    with making(context, lake, recipe, progress) as made:
        commit = index.make(made.lake, made.partition, made.advance)
        return made.result(commit)


@blocking_check(search_index, description="Every page of the snapshot can be found, and no other, and no file changed.")
def every_page_is_indexed(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    from assets.searching.index import CorruptSearchIndex, ShardIndex, wanted

    opened, snapshot = lake.open(), context.partition_key
    try:
        shards = [ShardIndex(place) for place in wanted(opened, snapshot) if place.is_there]
    except CorruptSearchIndex as error:
        return dg.AssetCheckResult(passed=False, metadata={"wrong": str(error)})
    ids = opened.scan("documents", snapshot=snapshot).select("doc_id").collect()["doc_id"].sort()
    found = pl.concat([pl.Series("doc_id", [], pl.String), *(one.doc_ids for one in shards)]).sort()
    counted = sum(one.n_documents for one in shards)
    return dg.AssetCheckResult(
        passed=bool(ids.equals(found)) and counted == len(ids), metadata={"pages": len(ids), "found": counted}
    )
