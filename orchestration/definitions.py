"""The one Definitions that Dagster loads: the graph, and what makes it run by itself. Imports stay light."""

import dagster as dg

from assets.resources import Progress
from orchestration import graph
from orchestration.graph import MODELS_JOB, PAGES_JOB
from orchestration.nightly import nightly_job
from orchestration.schedules import nightly
from orchestration.sensors import automation, label_watcher, ledger_watcher, policy_watcher, snapshot_discovery

SENSORS = [snapshot_discovery, automation, ledger_watcher, label_watcher, policy_watcher]

__all__ = ["MODELS_JOB", "PAGES_JOB", "build", "defs"]


def build(progress: Progress | None = None) -> dg.Definitions:
    """The graph with its schedules and sensors; `progress` shows how far a run is (nothing, by default)."""
    automatic = dg.Definitions(jobs=[nightly_job], schedules=[nightly], sensors=SENSORS)
    return dg.Definitions.merge(graph.build(progress), automatic)


defs = build()
