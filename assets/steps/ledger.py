"""The ledger of takedowns: who asked for what to be removed, why and when; nothing in it is changed or removed.

`<home>/takedowns/00000001.json` is the first request. A number is taken by creating its file if absent (a hard link to
a file that is whole), after all lower ones were read: two people who ask at once get two numbers, or the same one when
they ask for the same. The folder of the same name holds what applying it found and did: `found.json` when it has begun,
`report.json` when it is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from assets.steps.scopes import Refusal, Scope
from assets.temporary import write_new, write_whole

FOLDER, FOUND, REPORT = "takedowns", "found.json", "report.json"
MOST_CHARACTERS = 2000  # of who asked and why
Status = Literal["asked", "begun", "applied"]


class IncompleteRequest(ValueError):
    """Who asks, or why, is missing or too long."""


class DamagedLedger(RuntimeError):
    """An entry of the ledger cannot be read, so nobody can say what is to be refused."""


@dataclass(frozen=True)
class Takedown:
    """One request. `asked_at`: ISO 8601, UTC."""

    number: int
    scope: Scope
    by: str
    why: str
    asked_at: str

    def to_json(self) -> dict[str, Any]:
        said = {"by": self.by, "why": self.why, "asked_at": self.asked_at}
        return {"number": self.number, "scope": self.scope.to_json(), **said}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Takedown:
        return cls(value["number"], Scope.from_json(value["scope"]), value["by"], value["why"], value["asked_at"])


class Ledger:
    """The takedowns of one home. Args: `home` is its local folder; it need not exist before something is added."""

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER

    def add(self, scope: Scope, by: str, why: str, now: datetime | None = None) -> tuple[Takedown, bool]:
        """(the entry, whether it is new): asking again for the same scope gives the entry that is there.

        now: when it is asked (default: the clock). Raises IncompleteRequest, DamagedLedger.
        """
        by, why = by.strip(), why.strip()
        for name, said in (("who asks (--by)", by), ("the reason (--why)", why)):
            if not 0 < len(said) <= MOST_CHARACTERS:
                raise IncompleteRequest(f"{name} must be given, in at most {MOST_CHARACTERS} characters")
        asked_at = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            entries = self.entries()
            for entry in entries:
                if (entry.scope.kind, entry.scope.value) == (scope.kind, scope.value):
                    return entry, False
            made = Takedown(len(entries) + 1, scope, by, why, asked_at)
            if self._create(made):
                return made, True

    def entries(self) -> list[Takedown]:
        """All requests, by number. Raises DamagedLedger."""
        found = []
        for path in sorted(self.folder.glob("[0-9]*.json")):
            try:
                found.append(Takedown.from_json(json.loads(path.read_bytes())))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DamagedLedger(f"{path} is no readable entry: restore it from a backup ({error})") from error
            if found[-1].number != len(found) or path.stem != f"{len(found):08d}":
                raise DamagedLedger(
                    f"{self.folder} misses an entry: {path.name} should be number {len(found)}; restore it"
                )
        return found

    def entry(self, number: int) -> Takedown:
        """The request of that number. Raises LookupError."""
        return self.entries()[number - 1]

    def status(self, number: int) -> Status:
        """ "asked", "begun" (an apply was interrupted, or is at work) or "applied"."""
        if (self._place(number) / REPORT).is_file():
            return "applied"
        return "begun" if (self._place(number) / FOUND).is_file() else "asked"

    def read(self, number: int, name: str) -> dict[str, Any] | None:
        """FOUND or REPORT of a takedown, None where there is none yet."""
        path = self._place(number) / name
        return json.loads(path.read_bytes()) if path.is_file() else None

    def write(self, number: int, name: str, value: dict[str, Any]) -> Path:
        """Writes FOUND or REPORT of a takedown, atomically; returns where it lies."""
        path = self._place(number) / name
        write_whole(path, json.dumps(value, indent=1, sort_keys=True).encode())
        return path

    def refusal(self) -> Refusal:
        """What refuses pages from now on: every takedown, applied or not."""
        return refusal(self.entries())

    def outdated(self) -> dict[tuple[str, str, str], int]:
        """(asset, partition, data version) of all that held a page of a takedown that was begun, and the first such."""
        marked: dict[tuple[str, str, str], int] = {}
        for entry in self.entries():
            for one in (self.read(entry.number, FOUND) or {"held_by": []})["held_by"]:
                marked.setdefault((one["asset"], one["partition"], one["version"]), entry.number)
        return marked

    def _place(self, number: int) -> Path:
        return self.folder / f"{number:08d}"

    def _create(self, entry: Takedown) -> bool:
        try:
            write_new(
                self.folder / f"{entry.number:08d}.json", json.dumps(entry.to_json(), indent=1, sort_keys=True).encode()
            )
        except FileExistsError:
            return False
        return True


def refusal(entries: Iterable[Takedown]) -> Refusal:
    """What refuses the pages that the requests are about."""
    return Refusal((entry.number, entry.scope) for entry in entries)


def removals(home: Path) -> dict[str, int]:
    """doc_id → number of the first takedown of a home that removed, or began to remove, the page."""
    ledger = Ledger(home)
    numbers: dict[str, int] = {}
    for entry in ledger.entries():
        for page in (ledger.read(entry.number, FOUND) or {"pages": []})["pages"]:
            numbers.setdefault(page["doc_id"], entry.number)
    return numbers
