"""Where documents come from, for figures by group: snapshot, language, and how large their host is in the corpus.

Hosts are told apart by size alone: a figure that named one would outlive the takedown of its pages.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.data.tokenizer import corpus_rows

COLUMNS = ["doc_id", "host", "language", "cluster_size"]
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Source:
    """What is known of a document."""

    snapshot: str
    language: str
    host: str  # its class
    cluster_size: int

    @property
    def groups(self) -> list[str]:
        """The groups that its figures count in."""
        return [f"snapshot {self.snapshot}", f"language {self.language}", self.host]


def host_class(documents: int) -> str:
    """The class of a host that has so many documents in the corpus."""
    return f"host with {'1 document' if documents == 1 else '2 to 9 documents' if documents < 10 else '10 or more'}"


def sources_of(files: Sequence[str | Path], snapshots: Sequence[str]) -> dict[str, Source]:
    """By doc_id; of one that lies in several snapshots the first. snapshots: of each file.

    InputError names a bad file.
    """
    rows = [
        (row, snapshot) for file, snapshot in zip(files, snapshots, strict=True) for row in corpus_rows([file], COLUMNS)
    ]
    hosts = Counter(row["host"] for row, _ in rows)
    return {
        row["doc_id"]: Source(snapshot, row["language"] or UNKNOWN, host_class(hosts[row["host"]]), row["cluster_size"])
        for row, snapshot in reversed(rows)
    }
