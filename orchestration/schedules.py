"""The nightly refresh of the data plane: new snapshots become partitions, and what is outdated is made again."""

from collections import defaultdict

import dagster as dg

from assets.conventions import BLOCKING
from assets.crawl import snapshots
from assets.resources import CrawlResource, LakeResource, RecipeResource
from assets.steps.ledger import Ledger
from orchestration.graph import PAGES_JOB, build
from orchestration.lineage import survey
from orchestration.settings import config_digests


@dg.schedule(
    job_name=PAGES_JOB,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: discover snapshots, then make what is missing or outdated of the data plane.",
)
def nightly(
    context: dg.ScheduleEvaluationContext, lake: LakeResource, crawl: CrawlResource, recipe: RecipeResource
) -> list[dg.RunRequest] | dg.SkipReason:
    context.instance.add_dynamic_partitions("snapshot", snapshots(crawl.place))
    states = survey(
        build(), context.instance, config_digests(lake, crawl, recipe), BLOCKING, Ledger(lake.path).outdated()
    )
    stale: dict[str, list[dg.AssetKey]] = defaultdict(list)
    for node, state in states.items():
        if node.partition and state.status != "current":
            stale[node.partition].append(dg.AssetKey([node.asset]))
    if not stale:
        return dg.SkipReason("every snapshot is current")
    return [dg.RunRequest(partition_key=key, asset_selection=assets) for key, assets in sorted(stale.items())]
