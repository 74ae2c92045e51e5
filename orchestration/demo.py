"""`stemma demo`: makes exactly what is missing or outdated of the whole graph, in real Dagster runs."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from assets import tracking
from assets.crawl_roots import snapshots
from assets.resources import CrawlResource, Progress, RecipeResource
from orchestration import graph
from orchestration.engines.choose import engine
from orchestration.home import Home, alone, locate, prepare
from orchestration.lineage import Node, State
from orchestration.runs import end_killed_runs, execute
from orchestration.settings import look


@dataclass(frozen=True)
class Outcome:
    """What a demo did: the nodes that it made, and how every node stands after it."""

    home: Home
    recipe: str
    made: list[Node]
    states: Mapping[Node, State]


def run_demo(root: Path | None, recipe: str, progress: Progress) -> Outcome:
    """Brings everything up to date. Raises HomeBusy, HomeUnusable, CrawlMissing, InputError, PolicyError,
    EngineUnknown, EngineMissing, RunFailed."""
    from assets import policy
    from models.recipes import resolve

    resolve({"recipe": recipe})
    policy.load(RecipeResource().chosen_policy(locate(root).root))
    engine()
    found, started = snapshots(CrawlResource().place), time.monotonic()
    progress.begin("home", None)
    home = prepare(root)
    progress.end("home", time.monotonic() - started)
    with alone(home):
        os.environ["STEMMA_RECIPE"] = recipe
        home.remember_recipe(recipe)
        defs = graph.build(progress)
        with dg.DagsterInstance.get() as instance:
            end_killed_runs(instance)
            instance.add_dynamic_partitions("snapshot", found)
            made = _refresh(defs, instance, graph.CURATION_JOB, None)
            for partition in found:
                made += _refresh(defs, instance, graph.PAGES_JOB, partition)
            made += _refresh(defs, instance, graph.MODELS_JOB, None)
            send_spooled(instance, home)
            return Outcome(home, recipe, made, look(defs, instance))


def _refresh(defs: dg.Definitions, instance: dg.DagsterInstance, job: str, partition: str | None) -> list[Node]:
    """One run of what is not current of a job's assets in a partition (None: of those without). Raises RunFailed."""
    ours = {key.to_user_string() for key in defs.resolve_job_def(job).asset_layer.executable_asset_keys}
    stale = [
        node
        for node, state in look(defs, instance).items()
        if state.status != "current" and node.partition == (partition or "") and node.asset in ours
    ]
    if stale:
        execute(defs, instance, job, [node.asset for node in stale], by="demo", partition=partition)
    return stale


def send_spooled(instance: dg.DagsterInstance, home: Home, *, strict: bool = False) -> int:
    """Sends what MLflow missed, and lets the asset's history name the runs; returns how many were sent.

    Without `strict` an unreachable MLflow is no error: everything stays spooled. With it, TrackingUnreachable.
    """
    try:
        sent = tracking.sync(home.root, home.tracking_uri)
    except tracking.TrackingUnreachable:
        if strict:
            raise
        return 0
    for record in sent:
        metadata: dict[str, Any] = {"mlflow/run_id": str(record.run_id), "mlflow/state": "sent later"}
        instance.report_runless_asset_event(dg.AssetObservation(dg.AssetKey([record.asset]), metadata=metadata))
    return len(sent)
