"""When nights are: one schedule, on unless it is switched off."""

import dagster as dg

from orchestration.nightly import nightly_job
from orchestration.runs import UNFINISHED


@dg.schedule(
    job=nightly_job,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: discover snapshots, apply takedowns, refresh the data plane, report.",
)
def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    at_work = context.instance.get_runs(dg.RunsFilter(job_name=nightly_job.name, statuses=UNFINISHED), limit=1)
    if at_work:
        return dg.SkipReason(f"the night of the run {at_work[0].run_id} is not over yet")
    return dg.RunRequest()
