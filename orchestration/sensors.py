"""What reacts to events: new snapshot folders become partitions, and automation conditions are evaluated."""

import dagster as dg

from assets.crawl import snapshots
from assets.partitions import SNAPSHOTS
from assets.resources import CrawlResource


@dg.sensor(
    description="Adds a partition for every snapshot folder that appeared under the crawl root.",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def snapshot_discovery(context: dg.SensorEvaluationContext, crawl: CrawlResource) -> dg.SensorResult | dg.SkipReason:
    known = set(context.instance.get_dynamic_partitions("snapshot"))
    fresh = [name for name in snapshots(crawl.place) if name not in known]
    if not fresh:
        return dg.SkipReason(f"{crawl.place}: no snapshot beyond the {len(known)} known ones")
    return dg.SensorResult(dynamic_partitions_requests=[SNAPSHOTS.build_add_request(fresh)])


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
)
