"""What people say of pages (`labels`): the newest judgement of every labeller on every page that they judged."""

import dagster as dg
import polars as pl

from assets import schemas
from assets.conventions import Group, blocking_check, stage
from assets.making import making
from assets.resources import LakeResource, Progress, RecipeResource


@dg.asset(
    **stage(Group.CURATION, kinds={"deltalake", "sqlite"}, version="1", schema=schemas.table("labels").schema),
)
def labels(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """Good, bad or unsure, with free tags: one row a labeller and page, and beside it the texts that were judged."""
    from assets.judgements import report, standing
    from assets.judgements.store import Judgements
    from assets.steps.ledger import removals

    with making(context, lake, recipe, progress) as made:
        store = Judgements(lake.path)
        store.remove(removals(lake.path))  # somebody may have labelled a page while it was taken down
        commit = standing.write(made.lake, store)
        figures, said = report.of_labels(made.lake.scan("labels").collect())
        return made.result(commit, figures | {title: dg.MetadataValue.md(text) for title, text in said.items()})


@blocking_check(
    labels, description="A labeller says one thing of a page, and every judged text is there to learn from."
)
def every_label_has_its_text(lake: LakeResource) -> dg.AssetCheckResult:
    from assets.judgements.said import LABELS

    opened = lake.open()
    rows, texts = opened.scan("labels").collect(), opened.scan("labelled_texts").drop("text").collect()
    key = ["doc_id", "content_hash"]
    wrong = {
        "twice": rows.height - rows.select("doc_id", "labeller").n_unique(),
        "without_text": rows.join(texts, on=key, how="anti").height,
        "texts_of_no_label": texts.join(rows, on=key, how="anti").height,
        "unknown": rows.filter(~pl.col("label").is_in(LABELS)).height,
    }
    return dg.AssetCheckResult(passed=not any(wrong.values()), metadata=wrong)
