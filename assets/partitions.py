"""How the graph is cut: one dynamic partition per crawl snapshot. Shards and pages are never partitions."""

import dagster as dg

SNAPSHOTS = dg.DynamicPartitionsDefinition(name="snapshot")


def every_snapshot(asset: str) -> dg.AssetDep:
    """A dependency of an unpartitioned asset on all snapshots of a partitioned one."""
    return dg.AssetDep(asset, partition_mapping=dg.AllPartitionMapping())
