"""What `index.json` says and which documents the index has: what a reader asks, without the kernels that decide."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from assets.dedup_index import segments, store
from assets.dedup_index.segments import Segment, Segments
from assets.dedup_index.store import CorruptIndex
from assets.parts import PartFile, sync

if TYPE_CHECKING:
    from assets.dedup_index.deciding import Standing

FOLDER = "index/corpus"  # below the home
INDEX = "index.json"
FORMAT = 1  # to be raised when the same corpora would give other files


@dataclass(frozen=True)
class Entry:
    """A snapshot's documents of one language: digests of the segment and of how its members stand, and its rows."""

    segment: str
    members: int
    standing: str
    part: PartFile


@dataclass
class Index:
    """What `index.json` says. `snapshots`: data version of each snapshot's corpus; `entries`: by language, snapshot."""

    line_filter: str = ""
    similarity: float = 0.0
    snapshots: dict[str, str] = field(default_factory=dict)
    entries: dict[str, dict[str, Entry]] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Index:
        """The index of a folder; an empty one where there is none, or one of another format. Raises CorruptIndex."""
        path = folder / INDEX
        if not path.is_file():
            return cls()
        try:
            value = json.loads(path.read_bytes())
            if value.pop("format") != FORMAT:
                return cls()
            value["entries"] = {
                language: {
                    snapshot: Entry(**{**one, "part": PartFile.from_json(one["part"])}) for snapshot, one in of.items()
                }
                for language, of in value["entries"].items()
            }
            return cls(**value)
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptIndex(
                f"{path}: not readable ({error}): delete {folder}, the next run makes it again"
            ) from error

    def save(self, folder: Path) -> None:
        """Replaces `index.json`, atomically."""
        temporary = folder / f"{store.UNFINISHED}{INDEX}"
        temporary.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True))
        sync(temporary)
        os.replace(temporary, folder / INDEX)
        sync(folder)

    def opened(self, folder: Path, language: str) -> Segments:
        """The segments of a language, mapped. Raises CorruptIndex."""
        of = sorted(self.entries.get(language, {}).items())
        return Segments([name for name, _ in of], [Segment(folder, entry.segment) for _, entry in of])

    def stands(self, folder: Path, language: str, opened: Segments) -> Standing:
        """How the members of a language stand. Raises CorruptIndex."""
        from assets.dedup_index import standing

        digests = [entry.standing for _, entry in sorted(self.entries.get(language, {}).items())]
        return standing.load(folder, digests, opened)

    def verify(self, folder: Path) -> None:
        """Re-reads every file that is named and compares its bytes with its name. Raises CorruptIndex."""
        from assets.dedup_index import standing

        for entry in self.all():
            store.verify(folder / f"{entry.segment}{segments.SUFFIX}")
            store.verify(folder / f"{entry.standing}{standing.SUFFIX}")

    def all(self) -> Iterator[Entry]:
        """Every entry, by language and snapshot."""
        for _, of in sorted(self.entries.items()):
            yield from (entry for _, entry in sorted(of.items()))


def held(home: Path, ids: Iterable[str]) -> dict[str, int]:
    """How many of these documents are members of the index, by snapshot; those that hold none are left out."""
    folder, wanted = home / FOLDER, np.array([one.encode() for one in sorted(set(ids))], np.bytes_)
    found: dict[str, int] = {}
    for of in Index.load(folder).entries.values() if len(wanted) else ():
        for snapshot, entry in of.items():
            if n := int((Segment(folder, entry.segment).numbers_of(wanted) >= 0).sum()):
                found[snapshot] = found.get(snapshot, 0) + n
    return dict(sorted(found.items()))
