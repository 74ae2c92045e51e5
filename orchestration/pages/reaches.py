"""Reach reports, computed beside the requests: a page asks, shows how far it is, and asks again.

What holds some pages takes .6 s on 10^5 documents, and how the graph stands a second in a process of its own. A report
is kept for a minute while tables, artifacts and takedowns are what they were; one that is asked for twice is made once.
"""

import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assets.reach import Reach, reach
from assets.steps.scopes import Scope
from orchestration import reaching
from orchestration.home import Home, lake_of, require
from orchestration.pages.site import Site

ROOMS = ("orchestration", "assets", "models", "kernels")  # whose errors say what to do
KEPT = 64  # reports
STALE_S = 60.0  # then how the graph stands is looked at again, which no table tells
PAGES_KEPT, NEAR_KEPT = 200, 200  # of a report; the counts are of all
AT_ONCE_S = 0.12  # how long a request waits for a report before it shows how far it is


@dataclass
class Report:
    """One report, filled in while it is made. `found` comes first, `states` when the graph has been looked at."""

    scope: Scope
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    step: str = "reading tables, shards and checkpoints"
    pages: list[dict[str, Any]] = field(default_factory=list)
    n_pages: int = 0
    near: list[dict[str, Any]] = field(default_factory=list)
    n_near: int = 0
    held_by: list[dict[str, Any]] = field(default_factory=list)
    has_found: bool = False
    unsurveyed: str = ""  # why nobody can say what is outdated
    made: "Future[None] | None" = None

    @property
    def is_done(self) -> bool:
        return self.made is not None and self.made.done()

    @property
    def is_stale(self) -> bool:
        return self.is_done and time.monotonic() - self.ended > STALE_S

    @property
    def failed(self) -> str:
        """Why there is no report; "" while it is made and when it was."""
        if self.made is None or not self.made.done() or (error := self.made.exception()) is None:
            return ""
        return str(error) if type(error).__module__.split(".")[0] in ROOMS else f"{type(error).__name__}: see the log"

    @property
    def waits_s(self) -> float:
        """Seconds since it was asked for."""
        return time.monotonic() - self.began


class Reaches:
    """The reports of one home."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reach")
        self._reports: OrderedDict[tuple[str, str, str], Report] = OrderedDict()

    def ask(self, scope: Scope) -> Report:
        """The report on a scope: done, or under way. A failed one is made again when it is asked for again."""
        key = (scope.kind, scope.value, self._stamp())
        with self._lock:
            report = self._reports.get(key)
            if report is None or report.failed or report.is_stale:
                report = self._reports[key] = Report(scope)
                report.made = self._pool.submit(self._make, report)
            self._reports.move_to_end(key)
            while len(self._reports) > KEPT:
                self._reports.popitem(last=False)
        wait([made] if (made := report.made) else [], AT_ONCE_S)
        return report

    def _make(self, report: Report) -> None:
        home = require(Home(self._home))
        with reaching.surveying(home) as states:
            found = reach(lake_of(home), report.scope)
            _fill(report, found, {})
            report.step = "looking at what is outdated"
            try:
                _fill(report, found, states())
            except reaching.SurveyFailed as error:
                report.unsurveyed = str(error)
        report.ended = time.monotonic()

    def _stamp(self) -> str:
        """Changes with every table's log, artifact's version, takedown and export."""
        folders = [
            *sorted((self._home / "lake").glob("*/_delta_log")),
            *sorted((self._home / "artifacts").glob("*/versions/*")),
            self._home / "takedowns",
        ]
        exports = self._home / "exports.jsonl"
        return "|".join([*map(_newest, folders), str(exports.stat().st_size) if exports.is_file() else ""])


def of(site: Site) -> Reaches:
    """The site's reports."""
    return site.kept.setdefault("reaches", Reaches(site.home))


def _fill(report: Report, found: Reach, states: reaching.States) -> None:
    said = reaching.to_json(found, states)
    report.pages, report.n_pages = said["pages"][:PAGES_KEPT], len(said["pages"])
    report.near, report.n_near = said["near"][:NEAR_KEPT], len(said["near"])
    report.held_by, report.has_found = said["held_by"], True


def _newest(folder: Path) -> str:
    try:
        return max((entry.name for entry in os.scandir(folder)), default="")
    except FileNotFoundError:
        return ""
