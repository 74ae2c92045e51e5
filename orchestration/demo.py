"""`stemma demo`: makes exactly what is missing or outdated of the whole graph, in real Dagster runs."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from assets import tracking
from assets.conventions import BLOCKING
from assets.crawl import snapshots
from assets.resources import CrawlResource, LakeResource, Progress, RecipeResource
from assets.steps.ledger import Ledger
from orchestration import graph
from orchestration.engines.choose import engine
from orchestration.home import Home, HomeBusy, alone, prepare
from orchestration.lineage import Node, State, survey
from orchestration.settings import config_digests

STARTED_BY = {"stemma/started_by": "demo"}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class RunFailed(RuntimeError):
    """A run ended with an error; the message says which step, why, and under which run id it is to be seen."""


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
    policy.load(RecipeResource().chosen_policy)
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
            made: list[Node] = []
            for partition in found:
                made += _refresh(defs, instance, graph.PAGES_JOB, partition)
            made += _refresh(defs, instance, graph.MODELS_JOB, None)
            send_spooled(instance, home)
            return Outcome(home, recipe, made, look(defs, instance))


def look(defs: dg.Definitions, instance: dg.DagsterInstance) -> dict[Node, State]:
    """How every node stands now, with the resources that the environment describes."""
    digests = config_digests(LakeResource(), CrawlResource(), RecipeResource())
    return survey(defs, instance, digests, BLOCKING, Ledger(LakeResource().path).outdated())


def _refresh(defs: dg.Definitions, instance: dg.DagsterInstance, job: str, partition: str | None) -> list[Node]:
    """One run of what is not current in a partition (None: of the unpartitioned assets). Raises RunFailed."""
    stale = [
        node
        for node, state in look(defs, instance).items()
        if state.status != "current" and node.partition == (partition or "")
    ]
    if not stale:
        return []
    result = defs.resolve_job_def(job).execute_in_process(
        run_config=QUIET,
        instance=instance,
        partition_key=partition,
        asset_selection=[dg.AssetKey([node.asset]) for node in stale],
        tags=STARTED_BY,
        raise_on_error=False,
    )
    if not result.success:
        raise RunFailed(f"{_failure(result)} (run {result.run_id})")
    return stale


def _failure(result: dg.ExecuteInProcessResult) -> str:
    """What failed first: a check with what it found, or a step with the innermost message of its error."""
    for event in result.all_events:
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            verdict = event.asset_check_evaluation_data
            if not verdict.passed:
                found = {name: value.value for name, value in verdict.metadata.items()}
                return f"the check {verdict.check_name} on {verdict.asset_key.to_user_string()} failed: {found}"
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None and error.cls_name == "DagsterExecutionInterruptedError":
                return f"{event.step_key} was interrupted: start the demo again to go on from here"
            return f"{event.step_key}: {error.message.strip() if error else 'no message'}"
    return "the run failed before its first step"


def end_killed_runs(instance: dg.DagsterInstance) -> None:
    """Runs of an earlier demo that was killed: nobody else can be in them, for this demo holds the home's lock."""
    for run in instance.get_runs(dg.RunsFilter(tags=STARTED_BY, statuses=UNFINISHED)):
        instance.report_run_canceled(run, message="The demo that started this run was killed.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def refuse_while_running(home: Home) -> None:
    """Raises HomeBusy when a run is at work that no demo started: one from the UI, a schedule or a sensor.

    Runs of a demo are over: whoever asks holds the home's lock.
    """
    with dg.DagsterInstance.get() as instance:
        for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
            if not STARTED_BY.items() <= run.tags.items():
                said = f"the run {run.run_id} works in {home.root}"
                raise HomeBusy(f"{said}: wait for it, or cancel it in the UI if it was killed")


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
