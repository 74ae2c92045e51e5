"""One night: what is new comes in, what was asked for goes, what is outdated of the data plane is made, and a report.

    discover snapshots · apply takedowns · fetch the newest slices · learn from labels · refresh · report

`stemma nightly` and the Dagster job `nightly` run this same function. It decides by what is there, never by the clock,
so a night that is killed anywhere goes on in the next one and ends with the same tables. What fails is named in the
report and does not stop the rest. Of what learns, only the classifier of page quality is trained at night, if labels
changed; the report names the models that are outdated.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from assets import nights
from assets.conventions import Group
from assets.crawl_roots import CrawlMissing, snapshots
from assets.making import cpu_seconds
from assets.resources import CrawlResource, LakeResource, Progress, RecipeResource
from assets.steps.ledger import Ledger
from orchestration import graph
from orchestration.demo import send_spooled
from orchestration.home import Home, alone, prepare
from orchestration.lineage import Node, State
from orchestration.runs import RunFailed, RunInterrupted, end_killed_runs, execute
from orchestration.settings import look

ROUNDS = 2  # a takedown that is asked for during the refresh is applied, and what it touches made, in the same night
READS_THE_CRAWL = ("crawl_fetches", "crawl_manifest", "documents")
DATA_PLANE = (Group.PAGES, Group.CORPUS)


@dataclass
class Night:
    """What a night did. `noticed`: what somebody should look at, in words; a night with any did not succeed."""

    home: Home
    made: list[Node] = field(default_factory=list)
    noticed: list[str] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    not_fetched: set[str] = field(default_factory=set)

    @property
    def succeeded(self) -> bool:
        return not self.noticed


def run_night(root: Path | None, progress: Progress) -> Night:
    """A night from the command line. Raises HomeBusy, HomeUnusable, PolicyError, NightUnreadable, RunInterrupted."""
    home = prepare(root)
    with dg.DagsterInstance.get() as instance:
        return night(home, instance, progress)


def night(home: Home, instance: dg.DagsterInstance, progress: Progress) -> Night:
    """One night in a prepared home, alone. Raises as `run_night`, HomeBusy when another works there."""
    from assets import policy

    started, cpu = time.monotonic(), cpu_seconds()
    with alone(home, "night"):
        policy.load(RecipeResource().chosen_policy(home.root))
        nights.read(nights.newest(home.root))
        end_killed_runs(instance)
        done, defs = Night(home), graph.build(progress)
        for number in range(ROUNDS):
            _apply_takedowns(defs, instance, done)
            if number == 0:
                _fetch(defs, instance, done)
            _learn_from_labels(defs, instance, done)
            _refresh(defs, instance, done, _here(instance, done))
            if not _waiting(home):
                break
        send_spooled(instance, home)
        spent = {"cpu_s": cpu_seconds() - cpu, "wall_s": time.monotonic() - started}
        config = {"refresh_report": {"noticed": list(dict.fromkeys(done.noticed)), **spent}}
        execute(defs, instance, graph.REPORT_JOB, ["refresh_report"], by="night", config=config)
        done.folder = nights.newest(home.root)
        done.report, done.cost = nights.read(done.folder)
    return done


def _fetch(defs: dg.Definitions, instance: dg.DagsterInstance, done: Night) -> None:
    """The next slice of every snapshot that a subscription makes due; each is a partition from now on."""
    from assets.crawl_index.fetch import FetchIncomplete
    from assets.crawl_index.fetches import FetchesUnreadable
    from assets.crawl_index.files import IndexMissing, IndexUnreadable
    from assets.crawl_index.sources import SourceRefused
    from assets.crawl_index.subscriptions import SubscriptionsUnusable, discover, find, load

    unanswered = (FetchesUnreadable, FetchIncomplete, IndexMissing, IndexUnreadable, SourceRefused, OSError)
    try:
        due = discover(load(find(done.home.root)), CrawlResource().place)
    except (SubscriptionsUnusable, *unanswered) as away:
        done.noticed.append(f"what is published cannot be looked up: {away}")
        return
    instance.add_dynamic_partitions("snapshot", [one.snapshot for one in due])
    for one in due:
        if not _attempt(defs, instance, done, graph.PAGES_JOB, ["crawl_fetches"], one.snapshot, one.snapshot):
            done.not_fetched.add(one.snapshot)


def _here(instance: dg.DagsterInstance, done: Night) -> set[str] | None:
    """Snapshots that lie in the crawl root, each a partition now; None where the root cannot be reached."""
    try:
        here = snapshots(CrawlResource().place)
    except CrawlMissing as away:
        done.noticed.append(f"the crawl is away: {away}")
        return None
    instance.add_dynamic_partitions("snapshot", here)
    return set(here)


def _waiting(home: Home) -> list[int]:
    ledger = Ledger(home.root)
    return [entry.number for entry in ledger.entries() if ledger.status(entry.number) != "applied"]


def _apply_takedowns(defs: dg.Definitions, instance: dg.DagsterInstance, done: Night) -> None:
    if waiting := _waiting(done.home):
        _attempt(defs, instance, done, graph.TAKEDOWNS_JOB, ["takedown_reports"], None, f"takedowns {waiting}")


def _learn_from_labels(defs: dg.Definitions, instance: dg.DagsterInstance, done: Night) -> None:
    """What people said since, and the classifier that learns it: before the pages, which are scored by it."""
    if stale := [asset for asset in _stale(look(defs, instance), "") if asset in graph.CURATED]:
        _attempt(defs, instance, done, graph.CURATION_JOB, stale, None, ", ".join(stale))


def _refresh(defs: dg.Definitions, instance: dg.DagsterInstance, done: Night, here: set[str] | None) -> None:
    """Makes what is not current of the data plane, a snapshot at a time; then what reads all snapshots."""
    states = look(defs, instance)
    whole = True
    for snapshot in sorted(instance.get_dynamic_partitions("snapshot")):
        stale = _stale(states, snapshot)
        if not stale:
            continue
        if (here is None or snapshot not in here) and any(asset in READS_THE_CRAWL for asset in stale):
            gone = "out of reach" if here is None else f"no longer in {CrawlResource().place}"
            if snapshot not in done.not_fetched:
                done.noticed.append(f"{snapshot}: {stale[0]} is to be made, and its folder is {gone}: bring it back")
            whole = False
            continue
        whole &= _attempt(defs, instance, done, graph.PAGES_JOB, stale, snapshot, snapshot)
    plane = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs() if spec.group_name in DATA_PLANE}
    stale = [asset for asset in _stale(look(defs, instance), "") if asset in plane]
    if stale and whole:
        _attempt(defs, instance, done, graph.MODELS_JOB, stale, None, ", ".join(stale))
    elif stale:
        done.noticed.append(f"{', '.join(stale)}: waits until every snapshot is made")


def _stale(states: dict[Node, State], partition: str) -> list[str]:
    return [node.asset for node, state in states.items() if node.partition == partition and state.causes]


def _attempt(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    done: Night,
    job: str,
    assets: list[str],
    partition: str | None,
    what: str,
) -> bool:
    """One run; what fails in it is noticed, and the night goes on. Raises RunInterrupted."""
    try:
        execute(defs, instance, job, assets, by="night", partition=partition)
    except RunInterrupted:
        raise
    except RunFailed as failure:
        done.noticed.append(f"{what}: {failure}")
        return False
    done.made += [Node(asset, partition or "") for asset in assets]
    return True


@dg.op(name="night", description="Discover, apply takedowns, fetch, refresh, report; each part is a run of its own.")
def night_op(context: dg.OpExecutionContext) -> None:
    home = Home(LakeResource().path)
    done = night(home, context.instance, Progress())
    context.add_output_metadata({"made": len(done.made), "report": dg.MetadataValue.path(str(done.folder))})
    if not done.succeeded:
        raise dg.Failure("; ".join(done.noticed), allow_retries=False)


@dg.job(name="nightly", executor_def=dg.in_process_executor, description="The night as a whole; at most one in a home.")
def nightly_job() -> None:
    night_op()
