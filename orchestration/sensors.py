"""What reacts to events without waiting for the night: new snapshots, takedowns, labels, another policy, new inputs.

None of them reads page text or lists more than the crawl root. Each asks once for what it saw: by a cursor, by a run
key, or by what the instance already knows.
"""

import dagster as dg

from assets.configs import DEDUP_DECIDES, LINE_FILTER_DECIDES, POLICY_DECIDES, config_of, digest
from assets.crawl_roots import CrawlMissing, listing, snapshot_folders
from assets.judgements.state import judged
from assets.partitions import SNAPSHOTS
from assets.resources import CrawlResource, LakeResource, RecipeResource
from assets.steps.ledger import Ledger
from orchestration.graph import CURATION_JOB, PAGES_JOB, TAKEDOWNS_JOB, build
from orchestration.runs import ASKED_BY, PAGE, UNFINISHED
from orchestration.settings import look

ATTEMPTS = 3  # at applying the same takedowns, before the night or a person has to
BY_POLICY = sorted({*POLICY_DECIDES, *DEDUP_DECIDES, *LINE_FILTER_DECIDES, "documents"})


@dg.sensor(
    description="Adds a partition for every snapshot folder that appeared under the crawl root.",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def snapshot_discovery(context: dg.SensorEvaluationContext, crawl: CrawlResource) -> dg.SensorResult | dg.SkipReason:
    known = set(context.instance.get_dynamic_partitions("snapshot"))
    try:
        fresh = [name for name in snapshot_folders(crawl.place) if name not in known and _holds_pages(crawl, name)]
    except CrawlMissing as away:
        return dg.SkipReason(str(away))
    if not fresh:
        return dg.SkipReason(f"{crawl.place}: no snapshot beyond the {len(known)} known ones")
    return dg.SensorResult(dynamic_partitions_requests=[SNAPSHOTS.build_add_request(fresh)])


def _holds_pages(crawl: CrawlResource, snapshot: str) -> bool:
    try:
        return bool(listing(crawl.place, snapshot))
    except CrawlMissing:
        return False


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
)


@dg.sensor(
    job_name=TAKEDOWNS_JOB,
    description="Starts applying a new takedown as soon as nothing else works in the home.",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def ledger_watcher(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult | dg.SkipReason:
    ledger = Ledger(lake.path)
    waiting = [entry.number for entry in ledger.entries() if ledger.status(entry.number) != "applied"]
    if not waiting:
        return dg.SkipReason("every takedown in the ledger is applied")
    if at_work := context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED), limit=1):
        return dg.SkipReason(f"takedowns {waiting} wait for the run {at_work[0].run_id} ({at_work[0].job_name})")
    asked, _, count = (context.cursor or "0:0").partition(":")
    attempt = int(count) + 1 if int(asked) == waiting[-1] else 1
    if attempt > ATTEMPTS:
        return dg.SkipReason(f"takedowns {waiting} failed {ATTEMPTS} times: see the runs of the job {TAKEDOWNS_JOB}")
    cursor = f"{waiting[-1]}:{attempt}"
    return dg.SensorResult([dg.RunRequest(run_key=f"takedowns-{cursor}")], cursor=cursor)


@dg.sensor(
    job_name=CURATION_JOB,
    description="Puts what people said of pages into the table; the classifier learns it at night or once a week.",
    minimum_interval_seconds=600,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def label_watcher(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult | dg.SkipReason:
    state = judged("labels", lake.path) or ""
    if state == (context.cursor or ""):
        return dg.SkipReason("nobody has said anything new")
    request = dg.RunRequest(run_key=f"labels-{digest(state)}", asset_selection=[dg.AssetKey(["labels"])])
    return dg.SensorResult([request], cursor=state)


@dg.sensor(
    job_name=PAGES_JOB,
    description="Makes again what another policy, or a change of its file, decides otherwise.",
    minimum_interval_seconds=120,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def policy_watcher(
    context: dg.SensorEvaluationContext, lake: LakeResource, recipe: RecipeResource
) -> dg.SensorResult | dg.SkipReason:
    chosen = recipe.chosen_policy(lake.path)
    decides = {name: config_of(name, recipe=recipe.chosen(lake.path), policy=chosen) for name in BY_POLICY}
    count, _, known = (context.cursor or "0:").partition(":")
    if known == digest(decides):
        return dg.SkipReason(f"the policy {chosen} decides as before")
    asked = dg.RunsFilter(tags={ASKED_BY: PAGE}, statuses=UNFINISHED)
    if at_work := context.instance.get_runs(asked, limit=1):  # who chose it has most likely asked for all that follows
        return dg.SkipReason(f"the run {at_work[0].run_id} from a page comes first; what it leaves is looked at then")
    cursor = f"{int(count) + 1}:{digest(decides)}"  # the count lets a policy that comes back ask again
    if not known:
        return dg.SensorResult([], cursor=cursor)  # what changed before anybody watched is for the night
    requests = []
    stale: dict[str, list[str]] = {}
    for node, state in look(build(), context.instance).items():
        if node.partition and state.causes:
            stale.setdefault(node.partition, []).append(node.asset)
    for snapshot, assets in sorted(stale.items()):
        keys = [dg.AssetKey([name]) for name in assets]
        requests.append(dg.RunRequest(f"policy-{cursor}-{snapshot}", partition_key=snapshot, asset_selection=keys))
    return dg.SensorResult(requests, cursor=cursor)
