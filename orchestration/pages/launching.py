"""Runs that a page starts in Dagster, and how they stand: over the GraphQL of its web server, never in this process.

One snapshot is one run, several are a backfill, in which what is made of all snapshots waits for each of them. Both are
tagged with who asked. `/run/<id>` shows how one stands and, once it is over, where its result is to be seen.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

import httpx
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from assets.safe_text import shown
from orchestration.pages.settings import PageSettings
from orchestration.pages.site import Pages, Site, is_partial
from orchestration.runs import ASKED_BY, PAGE

router = APIRouter()

WHY = "stemma/why"
REASON_SHOWN = 200  # characters of `why` that become a tag
LOCATION, REPOSITORY, ASSET_JOB = "stemma", "__repository__", "__ASSET_JOB"
PARTITION = "dagster/partition"
CONNECT_S, ANSWER_S = 2.0, 60.0  # a launch waits until the code server has planned the run
RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
BACKFILL_ID = re.compile(r"[a-z]{8}")

State = Literal["queued", "started", "success", "failed", "canceled"]
STATES: dict[str, State] = {
    "QUEUED": "queued",
    "NOT_STARTED": "queued",
    "MANAGED": "queued",
    "STARTING": "queued",
    "STARTED": "started",
    "CANCELING": "started",
    "SUCCESS": "success",
    "FAILURE": "failed",
    "CANCELED": "canceled",
    "REQUESTED": "started",  # from here on those of a backfill alone
    "FAILING": "started",
    "COMPLETED": "success",
    "COMPLETED_SUCCESS": "success",
    "COMPLETED_FAILED": "failed",
    "FAILED": "failed",
}

KNOWN = """
query known($assets: [AssetKeyInput!]!) {
  assetNodes(assetKeys: $assets) { assetKey { path } isPartitioned partitionKeys }
}"""
LAUNCH_RUN = """
mutation launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on Error { message }
  }
}"""
LAUNCH_BACKFILL = """
mutation launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message }
  }
}"""
RUN_STATE = """
query state($id: ID!) {
  runOrError(runId: $id) {
    __typename
    ... on Run { status tags { key value } assetSelection { path } }
    ... on Error { message }
  }
}"""
BACKFILL_STATE = """
query state($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { status tags { key value } assetSelection { path } }
    ... on Error { message }
  }
}"""


class DagsterAway(ConnectionError):
    """Dagster does not answer; the message says how to start it, and what does the same without the pages."""

    def __init__(self, address: str, command: str | None = None) -> None:
        self.said = f"Dagster does not answer at {address}: start it with `make ui` and ask again"
        super().__init__(self.said + (f"; or run this in a terminal: {command}" if command else ""))
        self.address, self.command = address, command


class LaunchRefused(ValueError):
    """Dagster would not start the run; the message is its own, in one line."""


class UnknownRun(LookupError):
    """Dagster knows no run and no backfill of that id."""


@dataclass(frozen=True)
class Launched:
    """A run, or a backfill of several snapshots, that Dagster has taken on."""

    run_id: str
    url: str  # in Dagster

    def page(self, then: str | None = None) -> str:
        """Where to see how it stands; `then`: an address of ours that its result is to be seen at."""
        return f"/run/{quote(self.run_id)}" + (f"?{urlencode({'then': then})}" if then else "")


@dataclass(frozen=True)
class RunState:
    """How a run or a backfill stands."""

    run_id: str
    url: str
    state: State
    assets: tuple[str, ...] = ()
    why: str = ""

    @property
    def is_over(self) -> bool:
        return self.state in ("success", "failed", "canceled")


def launch(site: Site, *, assets: Sequence[str], partitions: Sequence[str] | None = None, why: str) -> list[Launched]:
    """Starts making `assets` (with their checks) in Dagster, of these snapshots if any of them has snapshots.

    why: a few words of a person, kept as a tag. Raises DagsterAway, LaunchRefused.
    """
    names = list(partitions or [])
    keys = [{"path": [name]} for name in assets]
    tags = [{"key": ASKED_BY, "value": PAGE}, {"key": WHY, "value": shown(why, REASON_SHOWN)}]
    same = command_for(assets, partitions)
    _refuse_unknown(_ask(site.settings, KNOWN, {"assets": keys}, same)["assetNodes"], assets, names)
    if len(names) > 1:
        params: dict[str, Any] = {"assetSelection": keys, "partitionNames": names, "tags": tags}
        answer = _ask(site.settings, LAUNCH_BACKFILL, {"params": params}, same)["launchPartitionBackfill"]
        _refuse_unless(answer, "LaunchBackfillSuccess")
        return [Launched(answer["backfillId"], url_of(site.settings, answer["backfillId"]))]
    tags += [{"key": PARTITION, "value": name} for name in names]
    selector = {
        "repositoryLocationName": LOCATION,
        "repositoryName": REPOSITORY,
        "jobName": ASSET_JOB,
        "assetSelection": keys,
    }
    params = {"selector": selector, "mode": "default", "runConfigData": {}, "executionMetadata": {"tags": tags}}
    answer = _ask(site.settings, LAUNCH_RUN, {"params": params}, same)["launchRun"]
    _refuse_unless(answer, "LaunchRunSuccess")
    return [Launched(answer["run"]["runId"], url_of(site.settings, answer["run"]["runId"]))]


def command_for(assets: Sequence[str], partitions: Sequence[str] | None = None) -> str:
    """What makes the same from a terminal, one snapshot after another."""
    dagster = ["dagster", "asset", "materialize", "-m", "orchestration.definitions", "--select", ",".join(assets)]
    return " && ".join(shlex.join([*dagster, *(["--partition", name] if name else [])]) for name in partitions or [""])


def state(site: Site, run_id: str) -> RunState:
    """How a run or backfill stands now. Raises UnknownRun, DagsterAway."""
    is_run = bool(RUN_ID.fullmatch(run_id))
    if not is_run and not BACKFILL_ID.fullmatch(run_id):
        raise UnknownRun(f"{shown(run_id, 50)} is no run's id: Dagster's Runs page lists them all")
    field, query = ("runOrError", RUN_STATE) if is_run else ("partitionBackfillOrError", BACKFILL_STATE)
    answer = _ask(site.settings, query, {"id": run_id})[field]
    if answer["__typename"] not in ("Run", "PartitionBackfill"):
        raise UnknownRun(f"Dagster knows no run {run_id}: its Runs page lists them all")
    tags = {tag["key"]: tag["value"] for tag in answer["tags"]}
    assets = tuple(key["path"][-1] for key in answer["assetSelection"] or [])
    return RunState(run_id, url_of(site.settings, run_id), STATES[answer["status"]], assets, tags.get(WHY, ""))


def url_of(settings: PageSettings, run_id: str) -> str:
    """A run's or backfill's page in Dagster."""
    return f"{settings.dagster}/runs/{'' if RUN_ID.fullmatch(run_id) else 'b/'}{quote(run_id)}"


@router.get("/run/{run_id}")
def run(request: Request, site: Pages, run_id: str, then: str | None = None) -> HTMLResponse:
    """How a run stands; asks again by itself until it is over."""
    values = {"found": state(site, run_id), "then": own_address(then)}
    return site.page(request, "run_panel.html" if is_partial(request) else "run.html", values)


def own_address(given: str | None) -> str | None:
    """The address if it is one of these pages; None for any other, for a link must not lead a reader away."""
    return given if given is not None and re.fullmatch(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*", given) else None


def _ask(
    settings: PageSettings, query: str, variables: Mapping[str, Any], command: str | None = None
) -> dict[str, Any]:
    """The answer's data. A server that answers with something else is none of Dagster's."""
    try:
        answer = httpx.post(
            f"{settings.dagster}/graphql",
            json={"query": query, "variables": variables},
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            trust_env=False,
        )
        said = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise DagsterAway(settings.dagster, command) from error
    if not isinstance(said, dict) or not isinstance(said.get("data"), dict):
        errors = said.get("errors") if isinstance(said, dict) else None
        if errors:
            raise LaunchRefused(f"Dagster did not understand: {_one_line(errors[0].get('message'))}")
        raise DagsterAway(settings.dagster, command)
    return said["data"]


def _refuse_unknown(nodes: Sequence[Mapping[str, Any]], assets: Sequence[str], partitions: Sequence[str]) -> None:
    """Dagster takes on a run of a snapshot that it does not know, which then fails: said before instead."""
    known = {node["assetKey"]["path"][-1]: node for node in nodes}
    for name in assets:
        if name not in known:
            hint = "" if nodes else ", nor any other that was asked for: its Deployment page says what it has loaded"
            raise LaunchRefused(f"Dagster has no asset {shown(name, 60)}{hint}")
        if not known[name]["isPartitioned"]:
            continue
        if not partitions:
            raise LaunchRefused(f"{name} is made by snapshot, and none was named")
        snapshots = known[name]["partitionKeys"]
        for partition in partitions:
            if partition not in snapshots:
                listed = ", ".join(snapshots[:20]) or "none"
                raise LaunchRefused(f"Dagster has no snapshot {shown(partition, 60)}: it has {shown(listed, 300)}")


def _refuse_unless(answer: Mapping[str, Any], success: str) -> None:
    if answer["__typename"] == success:
        return
    said = [answer.get("message"), *(one["message"] for one in answer.get("errors", []))]
    raise LaunchRefused(f"Dagster did not start it: {_one_line('; '.join(filter(None, said)) or answer['__typename'])}")


def _one_line(message: object) -> str:
    return shown(" ".join(str(message).split()), 400)
