"""The versions that the corpus ever had: of which rows, when, under which policy, and whether their bytes are there.

A corpus version is the data version of each snapshot, {snapshot: data_version}; its digest names it. Nothing is removed
when a newer one is made. A takedown removes the files of all earlier versions, for they may hold its pages. Versions
whose bytes are gone stay in the list, with the reason.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from assets import configs
from assets.history import Held, History, history, rows_of
from assets.lake import Lake
from assets.steps.ledger import FOUND, REPORT, Ledger

CORPUS, CLUSTERS, DECISIONS, DOCUMENTS = "corpus", "duplicate_clusters", "decisions", "documents"
DECIDED_FROM = (DOCUMENTS, DECISIONS, CLUSTERS)  # the tables that say why a page is not in the corpus
SHORTEST_PREFIX = 4  # characters of a digest that name a version
LISTED = 8  # versions that an error names


class UnknownVersion(LookupError):
    """No corpus version is meant by the name, or several are; the message lists what there is."""


class VersionGone(LookupError):
    """The bytes of the version are not there any more; the message says why and what is there instead."""


def digest_of(snapshots: dict[str, str]) -> str:
    """32 hex digits that name a corpus version: sha256 of {snapshot: data_version} as canonical JSON."""
    return configs.digest(snapshots)


@dataclass(frozen=True)
class CorpusVersion:
    """One version. `numbers`: the Delta versions of the table corpus that hold it; `at_ms`: when it was first made, by
    the clock of who made it; `bytes` of its `files`, of which `gone` are not there; `policies` that decided about its
    pages; `takedowns` whose application removed files of it, and how many of their pages were in its snapshots;
    `instead`: the version that is this one without those pages, where it is there."""

    digest: str
    snapshots: dict[str, str]
    numbers: tuple[int, ...]
    at_ms: int
    rows: int
    bytes: int
    files: int
    gone: int
    policies: tuple[str, ...]
    current: bool
    takedowns: tuple[int, ...] = ()
    pages_removed: int = 0
    instead: str | None = None

    @property
    def readable(self) -> bool:
        return self.gone == 0

    @property
    def at(self) -> str:
        """When it was first made, ISO 8601, UTC."""
        return datetime.fromtimestamp(self.at_ms / 1000, UTC).isoformat(timespec="seconds")

    def why_gone(self) -> str:
        """Why its bytes cannot be read and what can be had instead; "" where they can."""
        if self.readable:
            return ""
        said = f"{self.gone:,} of its {self.files:,} files are gone"
        if self.takedowns:
            numbers = ", ".join(map(str, self.takedowns))
            said += f": takedown {numbers} removed what earlier versions held, "
            said += f"{self.pages_removed:,} pages of these snapshots were asked for"
        if self.instead is not None:
            return f"{said}; {self.instead} is the same without those pages"
        rules = f" under {', '.join(self.policies)}" if self.policies else ""
        return f"{said}; made again{rules} it would lack the removed pages and have another name"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "at": self.at, "readable": self.readable, "why_gone": self.why_gone()}


class Versions:
    """Every corpus version of a lake, oldest first, with the history of the tables that it was decided from."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.histories: dict[str, History] = {name: history(lake, name) for name in (CORPUS, *DECIDED_FROM)}
        self.known: list[CorpusVersion] = _with_takedowns(lake, self._all())

    @property
    def current(self) -> CorpusVersion:
        """The present one. Raises UnknownVersion before a corpus was made."""
        if not self.known:
            raise UnknownVersion(f"{self.lake.root} holds no corpus yet: the asset corpus makes it")
        return next(version for version in self.known if version.current)

    def find(self, prefix: str) -> CorpusVersion:
        """The version whose digest begins so. Raises UnknownVersion."""
        found = [one for one in self.known if one.digest.startswith(prefix)] if len(prefix) >= SHORTEST_PREFIX else []
        if len(found) != 1:
            listed = ", ".join(one.digest[:12] for one in reversed(self.known[-LISTED:])) or "none"
            more = f" and {len(self.known) - LISTED} older ones" if len(self.known) > LISTED else ""
            what = f"{len(found)} corpus versions begin with" if found else "no corpus version is called"
            raise UnknownVersion(f"{what} {prefix[:80]}: there are {listed}{more} (`stemma versions`)")
        return found[0]

    def rows(self, version: CorpusVersion) -> list[Held]:
        """The corpus rows of a version, by snapshot."""
        held = self.histories[CORPUS].held
        return [held[snapshot, rows] for snapshot, rows in sorted(version.snapshots.items())]

    def readable(self, version: CorpusVersion) -> CorpusVersion:
        """The version itself. Raises VersionGone unless all its files are there."""
        if not version.readable:
            raise VersionGone(f"the corpus version {version.digest} cannot be had: {version.why_gone()}")
        return version

    def decided_from(self, version: CorpusVersion) -> dict[str, list[Held]]:
        """The rows of DECIDED_FROM that a version was made from, by table; those of a snapshot are missing where they
        cannot be read any more.

        Commits say what they read; where one does not, what was there when the version was made is taken.
        """
        found: dict[str, list[Held]] = {name: [] for name in DECIDED_FROM}
        for snapshot, rows in sorted(version.snapshots.items()):
            for name, held in self._sources(snapshot, rows, version.numbers[-1]).items():
                if not self.histories[name].missing(held):
                    found[name].append(held)
        return found

    def _sources(self, snapshot: str, rows: str, number: int) -> dict[str, Held]:
        """documents, decisions and duplicate_clusters behind a snapshot's corpus rows."""
        said: dict[str, Any] = self.histories[CORPUS].note(snapshot, rows, number).get("reads", {})
        if CLUSTERS in said and DECISIONS not in said:
            clusters = self.histories[CLUSTERS].note(snapshot, said[CLUSTERS]).get("reads", {})
            said = {**clusters, **said}
        at_ms = self._made(snapshot, rows, number)
        found: dict[str, Held] = {}
        for name in DECIDED_FROM:
            named = self.histories[name].held.get((snapshot, said.get(name, "")))
            if named is None or self.histories[name].missing(named):
                named = self.histories[name].as_of(snapshot, at_ms)
            if named is not None:
                found[name] = named
        return found

    def _made(self, snapshot: str, rows: str, number: int) -> int:
        """When the snapshot got these corpus rows, the last time before a Delta version."""
        changes = self.histories[CORPUS].changes.get(snapshot, [])
        times = [one.at_ms for one in changes if one.number <= number and one.snapshots[snapshot] == rows]
        return times[-1] if times else 0

    def _all(self) -> list[CorpusVersion]:
        of_corpus = self.histories[CORPUS]
        by_digest: dict[str, tuple[dict[str, str], list[int], int]] = {}
        for one in of_corpus.versions:
            entry = by_digest.setdefault(digest_of(one.snapshots), (one.snapshots, [], one.at_ms))
            entry[1].append(one.number)
        last = of_corpus.versions[-1].number if of_corpus.versions else None
        gone = {key: len(of_corpus.missing(held)) for key, held in of_corpus.held.items()}
        made = [
            self._described(snapshots, numbers, at_ms, gone, last in numbers)
            for snapshots, numbers, at_ms in by_digest.values()
        ]
        return sorted(made, key=lambda one: one.numbers[-1])

    def _described(
        self,
        snapshots: dict[str, str],
        numbers: list[int],
        at_ms: int,
        gone: dict[tuple[str, str], int],
        current: bool,
    ) -> CorpusVersion:
        rows = [self.histories[CORPUS].held[pair] for pair in snapshots.items()]
        return CorpusVersion(
            digest=digest_of(snapshots),
            snapshots=dict(snapshots),
            numbers=tuple(numbers),
            at_ms=at_ms,
            rows=sum(held.rows for held in rows),
            bytes=sum(held.bytes for held in rows),
            files=sum(len(held.parts) for held in rows),
            gone=sum(gone[pair] for pair in snapshots.items()),
            policies=self._policies(snapshots, numbers[-1]),
            current=current,
        )

    def of_snapshot(self, snapshot: str, back: int = 0) -> CorpusVersion | None:
        """The version of one snapshot alone: what its rows are, or were `back` different states before."""
        states: list[tuple[str, int, int]] = []  # data version, number and time of the last commit that gave it
        for one in self.histories[CORPUS].changes.get(snapshot, []):
            if states and states[-1][0] == one.snapshots[snapshot]:
                states.pop()
            states.append((one.snapshots[snapshot], one.number, one.at_ms))
        if len(states) <= back:
            return None
        rows, number, at_ms = states[-1 - back]
        missing = len(self.histories[CORPUS].missing(self.histories[CORPUS].held[snapshot, rows]))
        return self._described({snapshot: rows}, [number], at_ms, {(snapshot, rows): missing}, back == 0)

    def _policies(self, snapshots: dict[str, str], number: int) -> tuple[str, ...]:
        """name@version of the policies that decided, as the commits of decisions say, or else their rows."""
        found = set()
        for snapshot, rows in snapshots.items():
            held = self._sources(snapshot, rows, number).get(DECISIONS)
            if held is None:
                continue
            said = self.histories[DECISIONS].note(snapshot, held.data_version).get("policy")
            if said is None and held.parts and not self.histories[DECISIONS].missing(held):
                said = rows_of(self.lake, [held], DECISIONS).select("policy").head(1).collect().item()
            found |= {said} if said else set()
        return tuple(sorted(found))


def _with_takedowns(lake: Lake, versions: list[CorpusVersion]) -> list[CorpusVersion]:
    """The same, those with files gone with the takedowns that removed them and what is there instead."""
    ledger = Ledger(lake.local)
    begun = [(entry.number, ledger.read(entry.number, FOUND)) for entry in ledger.entries()]
    found = [(number, content) for number, content in begun if content is not None]
    reports = [report for number, _ in found if (report := ledger.read(number, REPORT)) is not None]
    place = {version.digest: number for number, version in enumerate(versions)}
    readable = {version.digest for version in versions if version.readable}

    def removed(version: CorpusVersion) -> CorpusVersion:
        if version.readable or not found:
            return version
        # the first takedown that met this version or a later one swept this one away
        first = next((one for one in found if _met(one[1], versions) >= place[version.digest]), None)
        of = [first] if first is not None else found
        pages = {
            page["doc_id"] for _, content in of for page in content["pages"] if page["snapshot"] in version.snapshots
        }
        after = _followed(version.snapshots, reports)
        instead = after if after in readable and after != version.digest else None
        return replace(version, takedowns=tuple(number for number, _ in of), pages_removed=len(pages), instead=instead)

    return [removed(version) for version in versions]


def _met(content: dict[str, Any], versions: list[CorpusVersion]) -> int:
    """The place of the latest version whose rows a takedown found pages in; -1 for none."""
    held = {(one["partition"], one["version"]) for one in content["held_by"] if one["asset"] == CORPUS}
    return max((place for place, one in enumerate(versions) if held & set(one.snapshots.items())), default=-1)


def _followed(snapshots: dict[str, str], reports: list[dict[str, Any]]) -> str:
    """The digest of the version that takedowns made of one."""
    now = dict(snapshots)
    for report in reports:
        for row in report["digests"]:
            if row["asset"] == CORPUS and now.get(row["partition"]) == row["before"]:
                now[row["partition"]] = row["after"]
    return digest_of(now)
