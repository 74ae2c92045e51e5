"""The questions of orchestration/records.py asked one node at a time, as anyone would: the reference of its answers."""

import dagster as dg


def newest(log, wanted):
    """See orchestration.records.newest."""
    found = {}
    for asset, partitions in wanted.items():
        for partition in partitions:
            asked = dg.AssetRecordsFilter(dg.AssetKey([asset]), asset_partitions=[partition] if partition else None)
            for record in log.fetch_materializations(asked, limit=1).records:
                found[asset, partition] = record
    return found


def verdicts(log, checks, since):
    """See orchestration.records.verdicts."""
    said = {}
    for (asset, partition), moment in since.items():
        for name in checks.get(asset, ()):
            history = log.get_asset_check_execution_history(
                dg.AssetCheckKey(dg.AssetKey([asset]), name), limit=1_000_000
            )
            for row in history:
                ended = row.event is not None and row.status.value in ("SUCCEEDED", "FAILED")
                if ended and (row.partition or "") == partition and row.event.timestamp >= moment:
                    said[asset, partition, name] = row.status.value == "SUCCEEDED"
                    break
    return said
