"""How the annotations' values spread over pages, languages and hosts: `annotation_statistics`."""

import dagster as dg
import polars as pl

from assets import curves, histograms, schemas
from assets.conventions import Group, blocking_check, stage
from assets.making import making
from assets.resources import LakeResource, Progress, RecipeResource

ROUNDING = 1e-4  # lid.176's probabilities can pass 1 by that little


@dg.asset(
    **stage(
        Group.PAGES,
        kinds={"deltalake", "polars", "matplotlib"},
        version="1",
        per_snapshot=True,
        schema=schemas.table("annotation_statistics").schema,
    ),
    deps=["annotations", "documents"],
)
def annotation_statistics(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """Mean, quantiles and histogram of every annotation, over all pages, by language and by host."""
    from assets import policy
    from assets.steps import stages

    with making(context, lake, recipe, progress) as made:
        commit = stages.annotation_statistics(made.lake, made.partition)
        rows = made.lake.scan("annotation_statistics", snapshot=made.partition).collect()
        picture = histograms.draw(rows, policy.load(made.policy))
        plot = {"thresholds": dg.MetadataValue.md(curves.inline(picture, "thresholds"))} if picture else {}
        return made.result(commit, plot)


@blocking_check(
    annotation_statistics,
    description="Every page is counted once over all and by language, in a bin or as missing, and values lie in range.",
)
def statistics_count_every_page(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    from assets.steps.statistics import measured

    opened, snapshot = lake.open(), context.partition_key
    annotations = opened.scan("annotations", snapshot=snapshot)
    pages = int(annotations.select(pl.len()).collect().item())
    known = measured(annotations.collect_schema().names())
    rows = opened.scan("annotation_statistics", snapshot=snapshot).collect()
    counted = rows.filter(pl.col("grouped_by") != "host").group_by("statistic", "grouped_by")
    sums = counted.agg((pl.col("n") + pl.col("missing")).sum().alias("pages"))
    low, high = ({name: float(getattr(c, side)) for name, c in known.items()} for side in ("low", "high"))
    wrong = rows.filter(
        (pl.col("histogram").list.sum() != pl.col("n"))
        | (pl.col("min") < pl.col("statistic").replace_strict(low, return_dtype=pl.Float64))
        | (pl.col("max") > pl.col("statistic").replace_strict(high, return_dtype=pl.Float64) + ROUNDING)
    )
    passed = (sums["pages"] == pages).all() and sums.height == (2 * len(known) if pages else 0) and wrong.is_empty()
    return dg.AssetCheckResult(
        passed=bool(passed), metadata={"pages": pages, "statistics": len(known), "wrong": wrong.height}
    )
