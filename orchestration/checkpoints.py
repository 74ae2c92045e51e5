"""Every checkpoint that a home still has: parents, data, cost, scores and runs, from manifests and the event log.

A checkpoint's directory never changes, so what is read of it is remembered. What Dagster recorded of it (when, in which
run, from which inputs) is added where its event log still says so; a directory without a record is shown all the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
import pyarrow.parquet as pq

from assets.descent import MODELS, manifest_of, versions
from assets.lake import Lake
from assets.making import CORPUS_VERSION
from assets.reach import exports

if TYPE_CHECKING:
    from dagster._core.storage.event_log.base import EventLogStorage

RELEASED, SCORECARD = "released_model", "scorecard"
MOST = 500  # materializations of an asset that are looked through, newest first
SHORTEST_PREFIX = 6  # characters of a digest that name a checkpoint
NOT_KEPT = ("curves", "card", "scores", "stemma/config", "dagster/column_schema")  # large, and not shown here
HEADLINES = ("bits_per_byte", "accuracy_greedy", "accuracy_sampled", "response_tokens")


class UnknownCheckpoint(LookupError):
    """No checkpoint of this home has that digest."""


@dataclass(frozen=True)
class Record:
    """One materialization: when it was stored (seconds since the epoch), in which run, and what it said of itself."""

    made_at: float
    run_id: str
    metadata: Mapping[str, Any]

    @property
    def inputs(self) -> dict[str, dict[str, str]]:
        """Data versions of what it was made from: asset → partition → version."""
        return self.metadata.get("stemma/inputs") or {}


@dataclass(frozen=True)
class Consumed:
    """What a checkpoint read in its own training: rows of `kind`, tokens of them (None: not counted), and repeats."""

    kind: str  # documents, examples, problems
    rows: int
    tokens: int | None
    most_often: int  # times that the row read most often was read


@dataclass(frozen=True)
class Score:
    """One row of a scorecard."""

    metric: str
    value: float
    low: float
    high: float
    n: int
    baseline_uniform: float
    baseline_random: float


@dataclass(frozen=True)
class Checkpoint:
    """One version of a model. `current`: whether it is the one in use; `parent`: digest of what it was trained from."""

    asset: str
    digest: str
    directory: Path
    manifest: Mapping[str, Any]
    current: bool
    record: Record | None = None
    scores: tuple[Score, ...] = ()
    exports: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    released: str | None = None  # digest of the present release that was made of it
    consumed: Consumed | None = None

    @property
    def parent(self) -> str | None:
        return self.manifest.get("parent")

    @property
    def bytes(self) -> int:
        return sum(int(entry["bytes"]) for entry in self.manifest.get("files", {}).values())

    @property
    def corpus_version(self) -> str | None:
        """Digest of the corpus version that it learned from, where it was recorded."""
        return self.record.metadata.get(CORPUS_VERSION) if self.record else None

    @property
    def headlines(self) -> tuple[Score, ...]:
        """The scores over all families, in the order in which people ask."""
        found = {score.metric: score for score in self.scores}
        return tuple(found[name] for name in HEADLINES if name in found)


@dataclass(frozen=True)
class Family:
    """All checkpoints of a home, by digest, those that were made last first."""

    members: Mapping[str, Checkpoint] = field(default_factory=dict)

    def find(self, name: str) -> Checkpoint:
        """The checkpoint of a digest, of the beginning of one, or of an asset's name (the one in use); `champion` is
        the model that the present release was made of. Raises UnknownCheckpoint."""
        if name in self.members:
            return self.members[name]
        for one in self.members.values():
            if (one.current and name == one.asset) or (one.released and name == "champion"):
                return one
        found = [one for digest, one in self.members.items() if digest.startswith(name)]
        if len(name) >= SHORTEST_PREFIX and len(found) == 1:
            return found[0]
        raise UnknownCheckpoint(f"no checkpoint here is called {name[:64]}: /models lists those there are")

    def roots(self) -> list[Checkpoint]:
        """Those whose parent is not here, newest first."""
        return [one for one in self.members.values() if one.parent not in self.members]

    def below(self, roots: Iterable[Checkpoint], most: int) -> set[str]:
        """Digests of the checkpoints and of all that came of them, tree by tree, at most so many."""
        found: set[str] = set()
        waiting = [one.digest for one in roots][::-1]
        while waiting and len(found) < most:
            digest = waiting.pop()
            found.add(digest)
            waiting += self.members[digest].children[::-1]
        return found

    def line(self, checkpoint: Checkpoint) -> list[Checkpoint]:
        """The checkpoint and its parents, the first of them first."""
        found = [checkpoint]
        while (parent := self.members.get(found[0].parent or "")) is not None:
            found.insert(0, parent)
        return found


def family(lake: Lake, log: "EventLogStorage") -> Family:
    """Every checkpoint of a home, released ones among them."""
    records = {asset: recorded(log, asset) for asset in (*MODELS, SCORECARD)}
    scores = _scores(lake, records[SCORECARD])
    written: dict[str, list[str]] = {}
    for one in exports(lake.local):
        written.setdefault(one["digest"], []).append(one["directory"])
    directories = [path for asset in MODELS for path in versions(lake.artifacts.root, asset)]
    in_use = {asset: _current(lake, asset) for asset in MODELS}
    manifests = {path: _manifest(path) for path in directories}
    newest_first = sorted(manifests, key=lambda path: (-_made_at(records, path), path.name))
    released = in_use[RELEASED]
    release_of = next((m.get("parent") for path, m in manifests.items() if path.name == released), None)
    made = [
        Checkpoint(
            asset=path.parent.name,
            digest=path.name,
            directory=path,
            manifest=manifest,
            current=in_use[path.parent.name] == path.name,
            record=records[path.parent.name].get(path.name),
            scores=scores.get(path.name, ()),
            exports=tuple(written.get(path.name, ())),
            children=tuple(other.name for other in newest_first if manifests[other].get("parent") == path.name),
            released=released if path.name == release_of else None,
            consumed=_consumed(path),
        )
        for path, manifest in ((path, manifests[path]) for path in newest_first)
    ]
    return Family({one.digest: one for one in made})


def recorded(log: "EventLogStorage", asset: str) -> dict[str, Record]:
    """The newest materialization of every data version of an asset."""
    found: dict[str, Record] = {}
    for row in log.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey([asset])), limit=MOST).records:
        event = row.asset_materialization
        version = (event.tags or {}).get("dagster/data_version") if event else None
        if event is not None and version and version not in found:
            metadata = {key: entry.value for key, entry in event.metadata.items() if key not in NOT_KEPT}
            found[version] = Record(row.timestamp, row.run_id, metadata)
    return found


def read_scores(directory: Path) -> dict[str, tuple[Score, ...]]:
    """The rows of a scorecard by the digest of the model that they are about."""
    frame = pl.read_parquet(directory / "scorecard.parquet")
    names = _manifest(directory).get("models", {})
    found: dict[str, list[Score]] = {}
    for row in frame.to_dicts():
        if (digest := names.get(row.pop("model"))) is not None:
            found.setdefault(digest, []).append(Score(**row))
    return {digest: tuple(rows) for digest, rows in found.items()}


def _scores(lake: Lake, records: Mapping[str, Record]) -> dict[str, tuple[Score, ...]]:
    """Scores by model digest, of the newest scorecard that has the model."""
    found: dict[str, tuple[Score, ...]] = {}
    current = _current(lake, SCORECARD)
    for directory in sorted(versions(lake.artifacts.root, SCORECARD), key=lambda at: _age(at, records, current)):
        found |= read_scores(directory)
    return found


def _made_at(records: Mapping[str, Mapping[str, Record]], directory: Path) -> float:
    record = records[directory.parent.name].get(directory.name)
    return record.made_at if record else 0.0


def _age(directory: Path, records: Mapping[str, Record], current: str | None) -> tuple[bool, float, str]:
    record = records.get(directory.name)
    return directory.name == current, record.made_at if record else 0.0, directory.name


def _current(lake: Lake, asset: str) -> str | None:
    from assets.artifacts import ArtifactMissing

    try:
        return lake.artifacts.version_of(asset)
    except ArtifactMissing:
        return None


@lru_cache(maxsize=4096)
def _manifest(directory: Path) -> dict[str, Any]:
    return manifest_of(directory)


@lru_cache(maxsize=4096)
def _consumed(directory: Path) -> Consumed | None:
    """What consumed.parquet and the manifest say of a checkpoint's reading; None where there is no such file."""
    file = directory / "consumed.parquet"
    if not file.is_file():
        return None
    there = pq.read_schema(file).names
    rows = pl.read_parquet(file, columns=[name for name in ("tokens", "times") if name in there])
    times = int(rows["times"].max() or 0) if "times" in there and rows.height else 0  # type: ignore[arg-type]
    tokens = _manifest(directory).get("tokens_trained")
    if tokens is None and {"tokens", "times"} <= set(there):
        tokens = int((rows["tokens"] * rows["times"]).sum())
    kind = {"doc_id": "documents", "example_id": "examples"}.get(there[0], "problems")
    return Consumed(kind, pq.read_metadata(file).num_rows, tokens, times)


def made_from(checkpoint: Checkpoint) -> Iterable[tuple[str, str]]:
    """(asset, data version) of every unpartitioned input of a checkpoint, as its materialization recorded them."""
    inputs = checkpoint.record.inputs if checkpoint.record else {}
    return [(asset, version) for asset, by in sorted(inputs.items()) for part, version in by.items() if not part]
