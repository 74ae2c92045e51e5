"""The `corpus`: clean, scrubbed text of the pages that are kept, and the `corpus_card` that accounts for it."""

import json

import dagster as dg
import polars as pl

from assets import cards, curves, schemas, told
from assets.conventions import Group, blocking_check, stage
from assets.making import making
from assets.partitions import every_snapshot
from assets.resources import Engine, LakeResource, Progress, RecipeResource

CARD_READS = ("crawl_manifest", "documents", "annotations", "decisions", "duplicate_clusters", "corpus")


@dg.asset(
    **stage(
        Group.CORPUS,
        kinds={"deltalake"},
        version="1",
        per_snapshot=True,
        schema=schemas.table("corpus").schema,
    ),
    deps=["documents", "annotations", "duplicate_clusters", "repeated_text"],
)
def corpus(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    engine: dg.ResourceParam[Engine],
    recipe: RecipeResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """What models learn from: the surviving pages' cleaned text, personal data replaced, provenance on every row."""
    from assets import changes, policy
    from assets.steps import stages

    with making(context, lake, recipe, progress) as made:
        chosen = policy.load(made.policy)
        commit = stages.corpus(made.lake, engine, made.partition, made.advance, chosen.dedup.cuts, chosen.line_filter)
        text_bytes = made.lake.scan("corpus", snapshot=made.partition).select(pl.col("text_bytes").sum())
        size = {"stemma/text_bytes": int(text_bytes.collect().item())}
        return made.result(commit, size | changes.of_snapshot(made.lake, made.partition))


@blocking_check(corpus, description="The corpus holds exactly the survivors of the clusters, each once.")
def corpus_holds_the_survivors(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    from assets.steps.identity import same_documents

    opened, snapshot = lake.open(), context.partition_key
    survivors = opened.scan("duplicate_clusters", snapshot=snapshot).filter("survivor")
    rows = opened.scan("corpus", snapshot=snapshot)
    counts = {
        name: int(frame.select(pl.len()).collect().item()) for name, frame in (("survivors", survivors), ("rows", rows))
    }
    return dg.AssetCheckResult(passed=same_documents(rows, survivors), metadata=counts)


@blocking_check(corpus, description="The finder finds no personal data in the corpus.")
def no_personal_data_is_left(
    context: dg.AssetCheckExecutionContext, lake: LakeResource, engine: dg.ResourceParam[Engine]
) -> dg.AssetCheckResult:
    from assets.steps.scrubbed import documents_with_personal_data

    left = documents_with_personal_data(lake.open(), engine, context.partition_key)
    return dg.AssetCheckResult(passed=not left, metadata={"documents": len(left), "first": left[:10]})


@dg.asset(
    **stage(Group.CORPUS, kinds={"markdown", "matplotlib"}, version="1"),
    deps=[every_snapshot(name) for name in CARD_READS],
)
def corpus_card(
    context: dg.AssetExecutionContext, lake: LakeResource, recipe: RecipeResource, progress: dg.ResourceParam[Progress]
) -> dg.MaterializeResult:
    """The data card of all snapshots: every record counted from the crawl to the corpus, with the funnel as a plot."""
    from assets import changes, policy

    with making(context, lake, recipe, progress) as made:
        directory = made.workdir / "card"
        chosen = policy.load(made.policy)
        card = cards.write_corpus_card(directory, made.lake, chosen, made.inputs["corpus"])
        commit = made.lake.commit_dir(made.asset, directory)
        plot = curves.inline((directory / "funnel.png").read_bytes(), "funnel")
        changed = changes.of_corpus(made.lake, made.before.get("stemma/corpus_version"))
        shown = told.funnel(json.loads((directory / "funnel.json").read_text()), chosen.reasons)
        said = {"card": dg.MetadataValue.md(card), "funnel": dg.MetadataValue.md(plot), **shown}
        return made.result(commit, said | changed)


@blocking_check(corpus_card, description="The funnel closes: pages == kept + sum over the reasons of the dropped.")
def funnel_closes(lake: LakeResource) -> dg.AssetCheckResult:
    funnel = json.loads((lake.open().open_dir("corpus_card") / "funnel.json").read_text())
    passed = funnel["in"] == funnel["kept"] + sum(funnel["dropped"].values()) and funnel["kept"] > 0
    return dg.AssetCheckResult(passed=passed, metadata={"funnel": dg.MetadataValue.json(funnel)})
