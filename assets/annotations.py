"""What is known about every page (`annotations`), and what the policy makes of it (`decisions`)."""

import dagster as dg
import polars as pl

from assets import schemas
from assets.conventions import REFRESH_BUT_FOR_SCORES, Group, blocking_check, stage
from assets.making import making
from assets.resources import Engine, LakeResource, Progress, RecipeResource


@dg.asset(
    **stage(Group.PAGES, kinds={"deltalake", "fasttext"}, version="2", per_snapshot=True),
    deps=["documents"],
)
def annotations(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    engine: dg.ResourceParam[Engine],
    recipe: RecipeResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """One row per page: language, quality statistics, address flags, spans of personal data. Nothing is decided."""
    from assets.steps import stages

    with making(context, lake, recipe, progress) as made:
        commit = stages.annotations(made.lake, engine, made.partition, made.advance)
        return made.result(commit, schema=schemas.table("annotations").schema)  # built from the kernels: not at import


@blocking_check(
    annotations, description="Every page has exactly one row, and every language tag is one the model knows."
)
def languages_are_known(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    from assets.steps.identity import same_documents
    from kernels.text.language import lid176_codes, tags

    opened, snapshot = lake.open(), context.partition_key
    rows, pages = opened.scan("annotations", snapshot=snapshot), opened.scan("documents", snapshot=snapshot)
    known = {"language": tags(), "lid176_language": lid176_codes()}
    found = {column: set(rows.select(pl.col(column).unique()).collect()[column]) for column in known}
    unknown = sorted({str(name) for column, names in known.items() for name in found[column] - names})
    height = int(rows.select(pl.len()).collect().item())
    matched = same_documents(rows, pages)
    return dg.AssetCheckResult(passed=matched and not unknown, metadata={"unknown": unknown, "rows": height})


@dg.asset(
    **stage(
        Group.PAGES,
        kinds={"deltalake", "polars"},
        version="1",
        per_snapshot=True,
        schema=schemas.table("decisions").schema,
        refreshed=REFRESH_BUT_FOR_SCORES,
    ),
    deps=["annotations", "contamination", "page_quality"],
)
def decisions(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """The policy's verdict on every page, with the first rule it failed, the score and the threshold."""
    from assets import policy
    from assets.steps import stages

    with making(context, lake, recipe, progress) as made:
        commit = stages.decisions(made.lake, made.partition, policy.load(made.policy))
        reasons = made.lake.scan("decisions", snapshot=made.partition).group_by("verdict", "reason").len()
        shown = {reason or verdict: count for verdict, reason, count in reasons.sort("reason").collect().rows()}
        return made.result(commit, {"funnel": dg.MetadataValue.json(shown)})


@blocking_check(
    decisions, description="in == kept + sum over reasons: every annotated page has one verdict, every drop a reason."
)
def decisions_account_for_every_page(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    from assets.steps.identity import same_documents

    opened, snapshot = lake.open(), context.partition_key
    rows, pages = opened.scan("decisions", snapshot=snapshot), opened.scan("annotations", snapshot=snapshot)
    is_kept, is_dropped, reasoned = pl.col("verdict") == "kept", pl.col("verdict") == "dropped", pl.col("reason")
    kept, dropped, height = (
        rows.select(
            (is_kept & reasoned.is_null()).sum(), (is_dropped & reasoned.is_not_null()).sum().alias("d"), pl.len()
        )
        .collect()
        .row(0)
    )
    passed = same_documents(rows, pages) and kept + dropped == height
    return dg.AssetCheckResult(passed=passed, metadata={"pages": height, "kept": kept, "dropped": dropped})
