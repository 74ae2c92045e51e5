"""Duplicates: `signatures` of kept pages, `duplicate_clusters` with the survivor of each, `repeated_text` in them."""

import dagster as dg
import polars as pl

from assets import schemas
from assets.conventions import Group, blocking_check, stage
from assets.making import making
from assets.resources import Engine, LakeResource, Progress, RecipeResource


@dg.asset(
    **stage(
        Group.CORPUS,
        kinds={"deltalake", "numba"},
        version="1",
        per_snapshot=True,
        schema=schemas.table("signatures").schema,
    ),
    deps=["documents", "decisions"],
)
def signatures(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    engine: dg.ResourceParam[Engine],
    recipe: RecipeResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """MinHash of every kept page's cleaned text, value for value as FineWeb computes it; 14 bands of 8."""
    from assets import policy
    from assets.steps import stages

    with making(context, lake, recipe, progress) as made:
        line_filter = policy.load(made.policy).line_filter
        return made.result(stages.signatures(made.lake, engine, made.partition, made.advance, line_filter))


@dg.asset(
    **stage(
        Group.CORPUS,
        kinds={"deltalake", "numba"},
        version="3",
        per_snapshot=True,
        schema=schemas.table("duplicate_clusters").schema,
    ),
    deps=["documents", "decisions", "signatures"],
)
def duplicate_clusters(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """One row per kept page: its cluster, the survivor, and their exact similarity. Candidates are verified."""
    from assets import policy
    from assets.steps import stages

    with making(context, lake, recipe, progress) as made:
        chosen = policy.load(made.policy)
        similarity, line_filter = chosen.dedup.similarity, chosen.line_filter
        commit = stages.duplicate_clusters(made.lake, made.partition, similarity, line_filter)
        rows = made.lake.scan("duplicate_clusters", snapshot=made.partition)
        removed = rows.group_by("reason").len().drop_nulls("reason").sort("reason").collect()
        return made.result(commit, {"removed": dg.MetadataValue.json(dict(removed.iter_rows()))})


@blocking_check(
    duplicate_clusters, description="Every kept page is in one cluster, and every cluster has one survivor."
)
def clusters_partition_the_kept_pages(
    context: dg.AssetCheckExecutionContext, lake: LakeResource
) -> dg.AssetCheckResult:
    from assets.steps.identity import same_documents

    opened, snapshot = lake.open(), context.partition_key
    kept = opened.scan("decisions", snapshot=snapshot).filter(pl.col("verdict") == "kept")
    rows = opened.scan("duplicate_clusters", snapshot=snapshot)
    stays, own = pl.col("survivor"), pl.col("doc_id") == pl.col("cluster_id")
    counted = rows.select(
        pl.len().alias("kept"),
        stays.sum().alias("survivors"),
        pl.col("cluster_id").n_unique().alias("clusters"),
        ((stays != own) | (stays != pl.col("reason").is_null())).sum().alias("wrong"),
    )
    found = counted.collect().row(0, named=True)
    passed = same_documents(rows, kept) and found["survivors"] == found["clusters"] and found["wrong"] == 0
    return dg.AssetCheckResult(passed=passed, metadata=found)


@blocking_check(
    duplicate_clusters,
    description="Dedup leaves the policy's least share of the snapshot, of every WARC file and of every larger host.",
)
def every_source_keeps_its_share(
    context: dg.AssetCheckExecutionContext, lake: LakeResource, recipe: RecipeResource
) -> dg.AssetCheckResult:
    from assets import policy
    from assets.steps import retention

    opened, snapshot = lake.open(), context.partition_key
    rows, pages = opened.scan("duplicate_clusters", snapshot=snapshot), opened.scan("documents", snapshot=snapshot)
    sources = retention.by_source(rows, pages, policy.load(recipe.chosen_policy(lake.path)).dedup)
    failing = retention.too_few(sources)
    metadata = {
        "sources": sources.height,
        "below_their_share": failing.height,
        "worst": dg.MetadataValue.json(sources.head(retention.WORST).to_dicts()),
    }
    return dg.AssetCheckResult(passed=failing.is_empty(), metadata=metadata)


@dg.asset(
    **stage(
        Group.CORPUS,
        kinds={"deltalake", "numba"},
        version="2",
        per_snapshot=True,
        schema=schemas.table("repeated_text").schema,
    ),
    deps=["documents", "duplicate_clusters"],
)
def repeated_text(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """How much of each surviving page recurs in others, by line, paragraph and substring, and what the policy cuts."""
    from assets import policy
    from assets.steps import stages

    with making(context, lake, recipe, progress) as made:
        commit = stages.repeated_text(made.lake, made.partition, policy.load(made.policy).dedup)
        rows = made.lake.scan("repeated_text", snapshot=made.partition)
        spans, share = (
            rows.select(pl.col("cut").list.len().sum(), pl.col("recurring_line_frac").mean()).collect().row(0)
        )
        return made.result(commit, {"spans_cut": int(spans), "mean_recurring_line_frac": float(share or 0.0)})


@blocking_check(repeated_text, description="Every survivor has one row, and its spans lie in order inside its text.")
def spans_lie_in_their_texts(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    from assets.steps.identity import same_documents

    opened, snapshot = lake.open(), context.partition_key
    rows = opened.scan("repeated_text", snapshot=snapshot).select("doc_id", "cut")
    stay = opened.scan("duplicate_clusters", snapshot=snapshot).filter("survivor")
    cut = rows.filter(pl.col("cut").list.len() > 0).collect()
    texts = opened.scan("documents", snapshot=snapshot).select("doc_id", "text")
    length = texts.join(cut.lazy().select("doc_id"), on="doc_id", how="semi").select(
        "doc_id", pl.col("text").str.len_chars().alias("length")
    )
    lengths = (
        length.collect(engine="streaming") if cut.height else length.clear().collect()
    )  # most policies cut nothing
    spans = cut.explode("cut").unnest("cut").join(lengths, on="doc_id")
    before = pl.col("end").shift(1).over("doc_id").fill_null(-1)
    inside = (pl.col("start") >= 0) & (pl.col("start") < pl.col("end")) & (pl.col("end") <= pl.col("length"))
    wrong = spans.filter(~inside | (pl.col("start") <= before)).height
    passed = wrong == 0 and same_documents(rows, stay)
    return dg.AssetCheckResult(passed=passed, metadata={"spans": spans.height, "wrong": wrong})
