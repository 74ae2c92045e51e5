"""Takes the next slice of a subscription into a crawl root; interrupted anywhere, the same call goes on with it.

A local crawl root is fetched into directly. For a remote one the work is done in a local folder (`stage`), and mirrored
when it is whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.crawl_index.fetch import fetch
from assets.crawl_index.fetches import Fetches, local
from assets.crawl_index.journal import only_one
from assets.crawl_index.mirror import Mirror
from assets.crawl_index.moving import Limits
from assets.crawl_index.plan import PlanUnusable, left_out_path, read_plan, write_plan
from assets.crawl_index.prices import Price
from assets.crawl_index.slices import left_usd, next_slice
from assets.crawl_index.subscription import Subscription
from assets.crawl_index.whole import fetch_files
from assets.parts import file_sha256

if TYPE_CHECKING:
    from assets.steps.scopes import Refusal

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Taken:
    """What one call moved: requests, bytes and dollars of this run, beside those that were planned; rejects by reason.

    Of whole files `records` counts files. All is zero where nothing was left to do."""

    records: int = 0
    rejects: dict[str, int] | None = None
    planned_requests: int = 0
    planned_bytes: int = 0
    planned_usd: float = 0.0
    requests: int = 0
    bytes: int = 0
    usd: float = 0.0

    def metadata(self) -> dict[str, Any]:
        """For a materialization: planned beside moved."""
        return {
            "stemma/fetched_records": self.records,
            "stemma/rejected_records": sum((self.rejects or {}).values()),
            "stemma/planned_requests": self.planned_requests,
            "stemma/moved_requests": self.requests,
            "stemma/planned_bytes": self.planned_bytes,
            "stemma/moved_bytes": self.bytes,
            "stemma/planned_usd": self.planned_usd,
            "stemma/cost_usd": self.usd,
        }


def take(
    one: Subscription,
    snapshot: str,
    crawl_root: str,
    stage: Path,
    *,
    refusal: Refusal | None = None,
    storage_options: dict[str, str] | None = None,
    limits: Limits | None = None,
    progress: OnProgress = lambda done, total: None,
) -> Taken:
    """Fetches the next slice of a snapshot, or the rest of one that was interrupted.

    stage: local folder for a remote crawl root; unused for a local one. refusal: takedowns. Raises BudgetPassed,
    FetchIncomplete, AlreadyFetching, StateUnwritable, SourceRefused, and what planning raises.
    """
    out = local(crawl_root)
    mirror = None if out else Mirror(crawl_root, stage, storage_options)
    out = out or stage
    work = _take_files if one.by_files else _take_records
    with only_one(out / ".fetch" / "next"):
        if mirror:
            mirror.pull()
            mirror.push()  # what an interrupted run had fetched and not put there yet
        taken = work(one, snapshot, str(out), out, refusal, storage_options, limits or Limits(), progress)
        if mirror:
            mirror.push()
    return taken


def _take_records(
    one: Subscription,
    snapshot: str,
    root: str,
    out: Path,
    refusal: Refusal | None,
    options: dict[str, str] | None,
    limits: Limits,
    progress: OnProgress,
) -> Taken:
    fetches = Fetches.read(root)
    pending = out / ".fetch" / "next" / f"{snapshot}.{one.name}.parquet"
    if not _goes_on(pending, one, snapshot, fetches):
        if fetches.is_exhausted(one, snapshot):
            return Taken()
        plan = next_slice(one, snapshot, root, refusal, options).plan
        assert plan
        write_plan(plan, pending)
    plan = read_plan(pending)
    money, planned = Price(**plan.facts["price"]), plan.totals()
    most = left_usd(one, snapshot, fetches, money)
    outcome = fetch(
        pending, out, storage_options=options, refusal=refusal, limits=limits, most_usd=most, progress=progress
    )
    pending.unlink()
    left_out_path(pending).unlink(missing_ok=True)
    usd = money.usd(outcome.requests, outcome.bytes)
    moved = (outcome.requests, outcome.bytes, usd)
    return Taken(outcome.records, outcome.rejects, planned["requests"], planned["bytes"], planned["cost_usd"], *moved)


def _goes_on(pending: Path, one: Subscription, snapshot: str, fetches: Fetches) -> bool:
    """Whether the plan of an interrupted run is still to be carried out: it is of the subscription as it is now, and
    not done."""
    if not pending.is_file():
        return False
    try:
        part: dict[str, Any] = read_plan(pending).facts.get("slice", {})
    except PlanUnusable:
        return False  # cut by a power failure: nothing was fetched by it
    done = {done.name for done in fetches.of(one, snapshot)}
    return part.get("asks") == one.asks(snapshot) and file_sha256(pending)[:12] not in done


def _take_files(
    one: Subscription,
    snapshot: str,
    root: str,
    out: Path,
    refusal: Refusal | None,
    options: dict[str, str] | None,
    limits: Limits,
    progress: OnProgress,
) -> Taken:
    planned = next_slice(one, snapshot, root, refusal, options)
    totals = planned.totals()
    if not planned.files:
        return Taken()
    _, made = fetch_files(
        one.source_root,
        snapshot,
        out,
        kind=one.kind,
        most=len(planned.files),
        storage_options=options,
        limits=limits,
        progress=progress,
    )
    rejects = {"missing_file": len(made.missing)} if made.missing else {}
    usd = planned.money.usd(made.requests, made.bytes)
    moved = (made.requests, made.bytes, usd)
    return Taken(len(made.files), rejects, totals["requests"], totals["bytes"], totals["cost_usd"], *moved)
