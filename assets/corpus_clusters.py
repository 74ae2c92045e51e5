"""`corpus_clusters`: which documents of the corpus are duplicates of one another over all snapshots, and which stays.

The corpus of a snapshot keeps one document of each cluster in that snapshot (FineWeb). Whether one of all snapshots is
learned from is the policy's choice at tokenization (`dedup: {scope: corpus}`, FineWeb-2).
"""

import dagster as dg
import polars as pl

from assets import schemas
from assets.conventions import Group, blocking_check, stage
from assets.making import making
from assets.partitions import every_snapshot
from assets.resources import LakeResource, Progress, RecipeResource


@dg.asset(
    **stage(Group.CORPUS, kinds={"deltalake", "numba"}, version="1", schema=schemas.table("corpus_clusters").schema),
    deps=[every_snapshot("corpus"), every_snapshot("documents")],
)
def corpus_clusters(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """One row per corpus row: its cluster among all snapshots, and the survivor. New snapshots alone are read."""
    from assets import policy
    from assets.steps import stages

    with making(context, lake, recipe, progress) as made:
        chosen = policy.load(made.policy)
        commit = stages.corpus_clusters(made.lake, chosen.dedup.similarity, chosen.line_filter, made.advance)
        rows = made.lake.scan("corpus_clusters")
        removed = rows.group_by("reason").len().drop_nulls("reason").sort("reason").collect()
        metadata = {"removed": dg.MetadataValue.json(dict(removed.iter_rows())), "scope": chosen.dedup.scope}
        return made.result(commit, metadata)


@blocking_check(corpus_clusters, description="Every corpus row has one row, and every cluster one survivor.")
def clusters_partition_the_corpus(lake: LakeResource) -> dg.AssetCheckResult:
    opened = lake.open()
    counted = {table: _rows_by_snapshot(opened.parts(table)) for table in ("corpus", "corpus_clusters")}
    rows = opened.scan("corpus_clusters").drop("similarity").collect()
    survivors = rows.filter("survivor")
    of_cluster = rows.group_by("language", "cluster_id").agg(pl.col("survivor").sum())
    passed = (
        counted["corpus"] == counted["corpus_clusters"]
        and rows.select("doc_id", "snapshot").n_unique() == rows.height
        and (of_cluster["survivor"] == 1).all()
        and (survivors["doc_id"] == survivors["cluster_id"]).all()
        and (rows["survivor"] == rows["reason"].is_null()).all()
    )
    return dg.AssetCheckResult(passed=bool(passed), metadata={"rows": rows.height, "survivors": survivors.height})


@blocking_check(corpus_clusters, description="The table says what the index says, and the index is of this corpus.")
def clusters_are_those_of_the_index(lake: LakeResource) -> dg.AssetCheckResult:
    from assets.dedup_index.update import differences

    opened = lake.open()
    wrong = differences(opened, opened.scan("corpus_clusters").collect())
    return dg.AssetCheckResult(passed=not wrong, metadata={"wrong": dg.MetadataValue.json(wrong)})


def _rows_by_snapshot(parts: list) -> dict[str, int]:
    counted: dict[str, int] = {}
    for part in parts:
        counted[part.partition["snapshot"]] = counted.get(part.partition["snapshot"], 0) + part.rows
    return counted
