"""The graph with its resources: every asset, check and job, as commands and the night run it. Imports stay light."""

from typing import Any

import dagster as dg

from assets import (
    ablations,
    annotations,
    base_evaluation,
    contamination,
    corpus,
    corpus_clusters,
    crawl,
    documents,
    duplicates,
    evaluation,
    instruct,
    labels,
    preferences,
    pretraining,
    quality,
    refresh,
    reinforcement,
    release,
    search_index,
    statistics,
    tokens,
)
from assets.conventions import Group
from assets.resources import CrawlResource, LakeResource, Progress, RecipeResource
from assets.tracking import TrackingResource
from orchestration.engines.choose import ChosenEngine
from orchestration.lineage import outdated
from orchestration.settings import look

STAGES = [
    labels,
    quality,
    crawl,
    documents,
    annotations,
    statistics,
    contamination,
    search_index,
    duplicates,
    corpus,
    corpus_clusters,
    tokens,
    pretraining,
    base_evaluation,
    instruct,
    reinforcement,
    preferences,
    evaluation,
    release,
    refresh,
    ablations,
]
CURATION_JOB, CURATED = "curation", ("labels", "quality_classifier")  # made first: pages are scored by what they say
PAGES_JOB, MODELS_JOB, TAKEDOWNS_JOB, REPORT_JOB = "pages", "models", "takedowns", "report"
ABLATIONS_JOB = "ablate"

per_snapshot = dg.AssetSelection.groups(Group.PAGES, Group.CORPUS) - dg.AssetSelection.assets(
    "corpus_card", "corpus_clusters"
)
curated = dg.AssetSelection.assets(*CURATED)
operations = dg.AssetSelection.groups(Group.OPERATIONS, Group.EXPERIMENTS)


class Survey:
    """Who tells the night's report what is outdated."""

    def outdated(self, instance: dg.DagsterInstance) -> list[dict[str, Any]]:
        """See assets.resources.Surveyor."""
        return outdated(look(build(), instance))


def build(progress: Progress | None = None) -> dg.Definitions:
    """The graph with its resources; `progress` shows how far a run is (nothing, by default)."""
    return dg.Definitions(
        assets=dg.load_assets_from_modules(STAGES),
        asset_checks=dg.load_asset_checks_from_modules(STAGES),
        jobs=[
            dg.define_asset_job(
                CURATION_JOB, curated, description="What people said of pages, and the classifier that learns it."
            ),
            dg.define_asset_job(
                PAGES_JOB, per_snapshot, description="From WARC files to clean text, one snapshot a run."
            ),
            dg.define_asset_job(
                MODELS_JOB,
                dg.AssetSelection.all() - per_snapshot - curated - operations,
                description="From the corpus of all snapshots to the released model.",
            ),
            dg.define_asset_job(
                TAKEDOWNS_JOB,
                ["takedown_reports"],
                description="Takes out what the ledger asks for, alone in the home.",
            ),
            dg.define_asset_job(
                REPORT_JOB,
                ["refresh_report"],
                description="What happened since the last report: every night, or by hand.",
            ),
            dg.define_asset_job(
                ABLATIONS_JOB,
                ["ablations"],
                description="Corpora compared by small models trained on them: minutes, and only when asked.",
            ),
        ],
        executor=dg.in_process_executor,  # a subprocess per step would cost 1.7 s each; heavy work runs in programs
        resources={
            "lake": LakeResource(),
            "crawl": CrawlResource(),
            "recipe": RecipeResource(),
            "tracking": TrackingResource(),
            "engine": ChosenEngine(),
            "surveyor": Survey(),
            "progress": progress or Progress(),
        },
    )
