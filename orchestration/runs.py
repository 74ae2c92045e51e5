"""Runs that a command starts in its own process, and runs that have lost theirs.

Whoever is killed leaves runs open that nobody works on; they would hold pool slots and refuse takedowns for ever. A run
of a command is over when its command's lock on the home can be had; any other is over when its process is gone.
"""

import json
from collections.abc import Sequence

import dagster as dg
import psutil

from orchestration.home import Home, HomeBusy

STARTED_BY = "stemma/started_by"
ASKED_BY, PAGE = "stemma/from", "page"  # a tag of runs that a page of ours asked Dagster for
COMMANDS = ("demo", "night", "ablate")  # they hold the home's lock while they work
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
GRPC_INFO = ".dagster/grpc_info"  # by which Dagster finds the server that launched a run
THIS_MACHINE = ("localhost", "127.0.0.1")
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class RunFailed(RuntimeError):
    """A run ended with an error; the message says which step, why, and under which run id it is to be seen."""


class RunInterrupted(RunFailed):
    """A run was asked to end; so is whoever started it."""


def execute(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str,
    assets: Sequence[str],
    *,
    by: str,
    partition: str | None = None,
    config: dict[str, dict] | None = None,
) -> None:
    """One run of some assets of a job in this process, to its end. Raises RunFailed, RunInterrupted.

    by: the command, one of COMMANDS. config: of assets, by name.
    """
    ops = {"ops": {name: {"config": value} for name, value in (config or {}).items()}}
    result = defs.resolve_job_def(job).execute_in_process(
        run_config=QUIET | ops,
        instance=instance,
        partition_key=partition,
        asset_selection=[dg.AssetKey([name]) for name in assets],
        tags={STARTED_BY: by},
        raise_on_error=False,
    )
    if not result.success:
        said, interrupted = _failure(result)
        raise (RunInterrupted if interrupted else RunFailed)(f"{said} (run {result.run_id})")


def _failure(result: dg.ExecuteInProcessResult) -> tuple[str, bool]:
    """What failed first, and whether that was an interruption: a check with what it found, or a step with the innermost
    message of its error."""
    for event in result.all_events:
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            verdict = event.asset_check_evaluation_data
            if not verdict.passed:
                found = {name: value.value for name, value in verdict.metadata.items()}
                return f"the check {verdict.check_name} on {verdict.asset_key.to_user_string()} failed: {found}", False
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None and error.cls_name == "DagsterExecutionInterruptedError":
                return f"{event.step_key} was interrupted: start it again to go on from here", True
            return f"{event.step_key}: {error.message.strip() if error else 'no message'}", False
    return "the run failed before its first step", False


def end_killed_runs(instance: dg.DagsterInstance) -> None:
    """Ends runs that nobody is in: of commands, for the caller holds the home's lock, and without a process."""
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if run.tags.get(STARTED_BY) in COMMANDS or has_lost_its_process(instance, run):
            instance.report_run_canceled(run, message="The process that this run was in is gone.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def has_lost_its_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the process that last said it was in the run is gone from this machine; False where none said so yet."""
    elsewhere = json.loads(run.tags.get(GRPC_INFO, "{}")).get("host") not in (None, *THIS_MACHINE)
    if elsewhere or run.status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED):
        return False
    said = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    numbers = [
        entry.value
        for event in said
        if event.dagster_event is not None
        for name, entry in event.dagster_event.engine_event_data.metadata.items()
        if name == "pid"
    ]
    return bool(numbers) and not psutil.pid_exists(int(str(numbers[-1])))


def refuse_while_running(home: Home) -> None:
    """Raises HomeBusy when a run is at work that no command started: one from the UI, a schedule or a sensor.

    Runs of commands are over: whoever asks holds the home's lock.
    """
    with dg.DagsterInstance.get() as instance:
        end_killed_runs(instance)
        for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
            said = f"the run {run.run_id} works in {home.root}"
            raise HomeBusy(f"{said}: wait for it, or cancel it in the UI if it was killed")
