"""Reports of pairs of corpora for the page: from memory, from the home's cache, or made in a thread meanwhile."""

import logging
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assets.lake import Lake
from assets.occupied import working as occupied
from orchestration.comparing import identity, keep, kept, key_of, report_of
from orchestration.diff import Sides
from orchestration.pages.site import Site

REMEMBERED = 8  # reports in memory
AT_ONCE = 2  # comparisons that run at the same time; others wait for their turn
WAITING = 8  # and no more than so many
MODELS = ("base_model", "sft_model", "rl_model", "released_model")
LOGS = ("corpus", "documents", "decisions", "duplicate_clusters", "annotations", "contamination", "page_quality")
log = logging.getLogger(__name__)


class TooMany(RuntimeError):
    """So many comparisons are being made that another must wait."""


class NoFolders(PermissionError):
    """The pages can be reached by others, who may not have files of this machine read by naming them."""


@dataclass
class Working:
    """A comparison that is being made: what it does, how much of it is done; `trouble` where it could not end."""

    what: str = "it waits for its turn"
    done: int = 0
    total: int = 1
    trouble: str | None = None
    over: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Answer:
    """The report of a pair, or how far it is."""

    key: str
    report: dict[str, Any] | None = None
    working: Working | None = None


class Diffs:
    """The comparisons of one home."""

    def __init__(self) -> None:
        self._lock, self._turn = threading.Lock(), threading.Semaphore(AT_ONCE)
        self._reports: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._working: dict[str, Working] = {}
        self._known: tuple[tuple[str, ...], Sides, dict[str, dict[str, Any]]] | None = None

    def sides(self, site: Site) -> tuple[Sides, dict[str, dict[str, Any]]]:
        """What names mean as the home is now, and those of them that were looked up already."""
        stamp = _stamp(site.home, site.lake())
        with self._lock:
            if self._known is None or self._known[0] != stamp:
                self._known = (stamp, Sides(site.home, None), {})
                self._reports.clear()  # a takedown may have been applied: nothing of its pages stays here
            return self._known[1], self._known[2]

    def ask(self, site: Site, a: str, b: str, wait_s: float = 0.0) -> Answer:
        """The report of a pair, begun to be made where it is not there. Raises what `Sides.of` raises, TooMany,
        NoFolders."""
        sides, known = self.sides(site)
        identities = [self._identity(site, sides, known, name) for name in (a, b)]
        key = key_of(sides.lake, *identities)
        with self._lock:
            report = self._reports.get(key)
        if report is None and (report := kept(site.home, key)) is not None:
            self._remember(key, report)
        if report is not None:
            return Answer(key, report)
        working = self._begin(site, key, a, b)
        if working.over.wait(wait_s):
            with self._lock:
                self._working.pop(key, None)  # trouble is told once; whoever asks again has it tried again
            return Answer(key, None if working.trouble else kept(site.home, key), working)
        return Answer(key, None, working)

    def _identity(self, site: Site, sides: Sides, known: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
        if name in known:
            return known[name]
        is_path = "/" in name or name.startswith(".") or name.endswith((".yaml", ".yml"))
        if not site.settings.is_loopback and (is_path or sides.folder_of(name) is not None):
            raise NoFolders(
                f"{name[:80]} is a path: these pages are open to others, who may name versions and policies"
            )
        found = identity(sides, name)
        if "version" in found:  # files may change without a sign in the tables, so they are looked at each time
            known[name] = found
        return found

    def _begin(self, site: Site, key: str, a: str, b: str) -> Working:
        with self._lock:
            if key in self._working:
                return self._working[key]
            self._working = {name: one for name, one in self._working.items() if not one.over.is_set()}
            if len(self._working) >= WAITING:
                raise TooMany(f"{WAITING} comparisons are being made: look at one of them, or wait for it")
            working = self._working[key] = Working()
        threading.Thread(target=self._make, args=(site.home, a, b, working), daemon=True).start()
        return working

    def _make(self, home: Path, a: str, b: str, working: Working) -> None:
        """Makes a report of what the names mean now, while no takedown is applied: none may write pages back."""

        def on_stage(what: str, done: int, total: int) -> None:
            working.what, working.done, working.total = what, done, max(total, 1)

        try:
            with self._turn, occupied(home):
                sides = Sides(home, None)
                key = key_of(sides.lake, identity(sides, a), identity(sides, b))
                one, two = sides.of(a), sides.of(b)
                tokens = (sides.tokens_of(one), sides.tokens_of(two))
                keep(home, key, report_of(sides.lake, one, two, tokens, on_stage))
        except Exception as error:  # a thread has nobody above it: the page says it, the log says where
            log.warning("a comparison could not be made", exc_info=error)
            working.trouble = f"{type(error).__name__}: {' '.join(str(error).split())}"
        finally:
            working.over.set()

    def _remember(self, key: str, report: dict[str, Any]) -> None:
        with self._lock:
            self._working.pop(key, None)
            self._reports[key] = report
            while len(self._reports) > REMEMBERED:
                self._reports.popitem(last=False)


def _stamp(home: Path, lake: Lake) -> tuple[str, ...]:
    """Changes when a table, the ledger of takedowns or a model does."""
    places = [home / "takedowns", *(home / "artifacts" / name / "versions" / "all" for name in MODELS)]
    if lake.is_local:
        places += [Path(lake.staging(name)) / "_delta_log" for name in LOGS]
        return tuple(_newest(place) for place in places)
    versions = (lake.version_of(name) if lake.exists(name) else "" for name in LOGS)
    return (*(_newest(place) for place in places), *versions)


def _newest(folder: Path) -> str:
    try:
        return max((entry.name for entry in os.scandir(folder) if entry.name.endswith(".json")), default="")
    except FileNotFoundError:
        return ""
