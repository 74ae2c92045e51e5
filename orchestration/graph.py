"""The graph with its resources: every asset, check and job, as commands and the night run it. Imports stay light."""

import dagster as dg

from assets import (
    annotations,
    contamination,
    corpus,
    corpus_clusters,
    crawl,
    documents,
    duplicates,
    evaluation,
    instruct,
    pretraining,
    reinforcement,
    release,
    statistics,
    tokens,
)
from assets.conventions import Group
from assets.resources import CrawlResource, LakeResource, Progress, RecipeResource
from assets.tracking import TrackingResource
from orchestration.engines.choose import ChosenEngine

STAGES = [
    crawl,
    documents,
    annotations,
    statistics,
    contamination,
    duplicates,
    corpus,
    corpus_clusters,
    tokens,
    pretraining,
    instruct,
    reinforcement,
    evaluation,
    release,
]
PAGES_JOB, MODELS_JOB = "pages", "models"

per_snapshot = dg.AssetSelection.groups(Group.PAGES, Group.CORPUS) - dg.AssetSelection.assets(
    "corpus_card", "corpus_clusters"
)


def build(progress: Progress | None = None) -> dg.Definitions:
    """The graph with its resources; `progress` shows how far a run is (nothing, by default)."""
    return dg.Definitions(
        assets=dg.load_assets_from_modules(STAGES),
        asset_checks=dg.load_asset_checks_from_modules(STAGES),
        jobs=[
            dg.define_asset_job(
                PAGES_JOB, per_snapshot, description="From WARC files to clean text, one snapshot a run."
            ),
            dg.define_asset_job(
                MODELS_JOB,
                dg.AssetSelection.all() - per_snapshot,
                description="From the corpus of all snapshots to the released model.",
            ),
        ],
        executor=dg.in_process_executor,  # a subprocess per step would cost 1.7 s each; heavy work runs in programs
        resources={
            "lake": LakeResource(),
            "crawl": CrawlResource(),
            "recipe": RecipeResource(),
            "tracking": TrackingResource(),
            "engine": ChosenEngine(),
            "progress": progress or Progress(),
        },
    )
