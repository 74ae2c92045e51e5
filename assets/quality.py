"""The `quality_classifier` that learns from labels, and the score that it gives every page (`page_quality`)."""

from dataclasses import asdict

import dagster as dg
import numpy as np
import polars as pl

from assets import schemas
from assets.conventions import Group, blocking_check, stage
from assets.making import making
from assets.programs import train
from assets.resources import Engine, LakeResource, Progress, RecipeResource
from assets.tracking import TrackingResource


@dg.asset(
    **stage(Group.CURATION, kinds={"pytorch", "mlflow"}, version="1", trains=True),
    deps=["labels"],
)
def quality_classifier(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    recipe: RecipeResource,
    tracking: TrackingResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """How likely people keep a text, learnt from good and bad labels; the packaged weights while there are too few."""
    from assets.judgements import report, training
    from models.config import QualityConfig

    with making(context, lake, recipe, progress) as made:
        settings, found, links = QualityConfig(), training.examples(made.lake), {}
        if training.enough(found, settings):
            config = training.write(found, made.workdir, asdict(settings))
            sources = {"labels": made.workdir / training.TEXTS}
            commit, manifest, links = train(made, tracking, "quality-classifier", config, parent=None, sources=sources)
        else:
            commit, manifest = training.publish_packaged(made.lake, settings)
        figures, said = report.of_classifier(manifest, found)
        texts = {title: dg.MetadataValue.md(text) for title, text in said.items()}
        return made.result(commit, figures | texts | links)


@blocking_check(quality_classifier, description="Weights, slope and offset are finite, so every page gets a score.")
def classifier_is_finite(lake: LakeResource) -> dg.AssetCheckResult:
    from assets.judgements.training import ASSET, WEIGHTS
    from kernels.text.quality_model import parse

    model = parse((lake.open().open_dir(ASSET) / WEIGHTS).read_bytes())
    finite = bool(np.isfinite([*model.weights, model.slope, model.offset]).all())
    return dg.AssetCheckResult(passed=finite, metadata={"weights": model.weights.size, "slope": model.slope})


@dg.asset(
    **stage(
        Group.PAGES,
        kinds={"deltalake", "numba"},
        version="1",
        per_snapshot=True,
        schema=schemas.table("page_quality").schema,
    ),
    deps=["documents", "quality_classifier"],
)
def page_quality(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    engine: dg.ResourceParam[Engine],
    recipe: RecipeResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """One row per page: the classifier's score, which a policy may ask for as `curated_quality`."""
    from assets.judgements.training import ASSET, WEIGHTS
    from assets.steps import stages

    with making(context, lake, recipe, progress) as made:
        weights = made.lake.open_dir(ASSET) / WEIGHTS if ASSET in made.inputs else None
        commit = stages.page_quality(made.lake, engine, made.partition, weights, made.advance)
        scores = made.lake.scan("page_quality", snapshot=made.partition).select(
            pl.col("curated_quality").mean().alias("mean"), (pl.col("curated_quality") >= 0.5).mean().alias("over_half")
        )
        return made.result(commit, scores.collect().row(0, named=True))


@blocking_check(page_quality, description="Every page has exactly one score, between 0 and 1.")
def every_page_is_scored(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    from assets.steps.identity import same_documents

    opened, snapshot = lake.open(), context.partition_key
    rows, pages = opened.scan("page_quality", snapshot=snapshot), opened.scan("documents", snapshot=snapshot)
    outside = rows.filter(~pl.col("curated_quality").is_between(0, 1).fill_null(False)).select(pl.len())
    wrong = int(outside.collect().item())
    return dg.AssetCheckResult(passed=same_documents(rows, pages) and not wrong, metadata={"outside": wrong})
