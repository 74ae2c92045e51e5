"""The lake: row tables as Delta Lake and artifacts as verified directories, under one home directory or S3 URL.

Workers write part files themselves (assets.parts); one Delta transaction, last, makes them visible together, and
replaces the files of one partition at once. `data_version` names the rows of a table or partition by the bytes of its
files, never by path or time. What a Lake object hands out is recorded in `reads`, so lineage can be compared with what
was declared.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import polars as pl
import pyarrow as pa

from assets import schemas
from assets.artifacts import ArtifactStore, Commit
from assets.delta import LakeRefused, TableMissing, broke_off, create, opened
from assets.parts import PartFile, PartWriter, data_version, filesystem, partition_folder, read_part, write_partitions
from assets.store_scan import scan_parts
from assets.verified import check

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = [
    "Commit",
    "CommitConflict",
    "Lake",
    "LakeRefused",
    "PartFile",
    "PartMissing",
    "Read",
    "SchemaConflict",
    "TableMissing",
]

COMMIT_ATTEMPTS = 5
NOTE = "stemma"  # where a commit's entry in the table's log says what was read and, of decisions, by which policy
Parts = Sequence[PartFile]
Named = dict[str, str]


class PartMissing(RuntimeError):
    """A part file that was to be committed, or that a table names, is absent or has another size."""


class SchemaConflict(TypeError):
    """The rows to commit do not have the column types of the table."""


class CommitConflict(RuntimeError):
    """Other writers kept replacing the same partition."""


class Read(NamedTuple):
    """One recorded read: an asset (table or artifact) and the data version that was handed out."""

    asset: str
    version: str


class Lake:
    """The tables and artifacts of one home.

    Args: `root` is a folder or an `s3://` URL that holds `lake/<table>/`; `storage_options` are deltalake's
    (`AWS_ENDPOINT_URL`, …). Artifacts and work folders are local: they lie in `local` (default: `root`, or ./var where
    `root` is a URL).
    """

    def __init__(
        self, root: str | Path, storage_options: dict[str, str] | None = None, local: str | Path | None = None
    ) -> None:
        self.root = str(root).rstrip("/")
        self.storage_options = storage_options
        self.is_local = "://" not in self.root
        self.local = Path(local or (self.root if self.is_local else "var")).absolute()
        self.artifacts = ArtifactStore(self.local / "artifacts")
        self.reads: list[Read] = []
        self._seen: dict[tuple[str, str | None], str] = {}  # newest version read, by table and snapshot

    # ---- tables ----

    def staging(self, table: str) -> str:
        """Root of the table: where workers write its part files."""
        return f"{self.root}/lake/{table}"

    def scan(self, table: str, *, snapshot: str | None = None, version: int | None = None) -> pl.LazyFrame:
        """Rows of the table (of one snapshot), as they are or were at a table version. Raises TableMissing."""
        delta = self._open(table, snapshot, version)
        self._record(table, delta, snapshot)
        frame = pl.scan_delta(delta)
        if not self.is_local:
            parts = self._parts(table, delta, snapshot)
            return scan_parts(self.staging(table), parts, frame.collect_schema(), self.storage_options)
        return frame if snapshot is None else frame.filter(pl.col("snapshot") == snapshot)

    def files(self, table: str, *, snapshot: str | None = None) -> list[str]:
        """Paths or URLs of the Parquet files that make up the table (or one snapshot), sorted. Local ones are verified.

        Raises TableMissing, PartMissing, PartDamaged.
        """
        delta = self._open(table, snapshot)
        self._record(table, delta, snapshot)
        self.verify(table, snapshot=snapshot)
        return [f"{self.staging(table)}/{part.path}" for part in self._parts(table, delta, snapshot)]

    def parts(self, table: str, *, snapshot: str | None = None, version: int | None = None) -> list[PartFile]:
        """The part files of the table (or one snapshot), sorted by path, now or at a version. Raises TableMissing."""
        delta = self._open(table, snapshot, version)
        self._record(table, delta, snapshot)
        return self._parts(table, delta, snapshot)

    def version_of(self, table: str, *, snapshot: str | None = None) -> str:
        """Data version of the rows that are there; records no read. Raises TableMissing."""
        return data_version(self._parts(table, self._open(table, snapshot), snapshot))

    def exists(self, table: str, *, snapshot: str | None = None) -> bool:
        """Whether the table (or that snapshot of it) was ever committed."""
        try:
            self._open(table, snapshot)
        except TableMissing:
            return False
        return True

    def commit(
        self,
        table: str,
        parts: Sequence[PartFile],
        *,
        schema: pa.Schema | None = None,
        partition_by: Sequence[str] | None = None,
        replace: dict[str, str] | None = None,
        note: dict[str, str] | None = None,
    ) -> Commit:
        """Makes the part files visible in one transaction; with `replace`, in place of what that partition held.

        `replace={"snapshot": "…"}` replaces one partition, `{}` the whole table, None appends. Schema and partitioning
        are those of assets.schemas unless given. The result describes the replaced partition (or the whole table).
        The table's log keeps the `note` (assets.history), and which versions of the same snapshot were read before.
        Committing what is there already changes nothing.
        Raises PartMissing, SchemaConflict, CommitConflict; nothing is visible then.
        """
        from deltalake.exceptions import CommitFailedError, DeltaError

        for part in parts:
            self._check_part(table, part)
            if replace and any(part.partition.get(column) != value for column, value in replace.items()):
                raise ValueError(f"{table}: {part.path} does not belong to the replaced partition {replace}")
        delta = self._create(table, schema, partition_by)
        for _ in range(COMMIT_ATTEMPTS):
            current = self._parts(table, delta, None)
            ours = [p for p in current if replace is not None and _within(p, replace)]
            try:
                add, remove = _without(parts, current), _without(ours, parts)
                self._transact(delta, add=add, remove=remove, replaced=replace, note=note)
            except (DeltaError, OSError) as error:
                if not isinstance(error, CommitFailedError) and (self.is_local or not broke_off(error)):
                    raise
                delta = self._delta(table)  # another was first, or a store's answer broke off: look again what is there
                continue
            left = [p for p in self._parts(table, delta, None) if replace is None or _within(p, replace)]
            return _describe(left, delta.version())
        raise CommitConflict(f"{table}: others kept replacing {replace or 'it'} {COMMIT_ATTEMPTS} times; run again")

    def write(
        self,
        table: str,
        frame: pl.DataFrame,
        *,
        schema: pa.Schema | None = None,
        partition_by: Sequence[str] | None = None,
        replace: dict[str, str] | None = None,
        note: dict[str, str] | None = None,
    ) -> Commit:
        """Writes and commits a small table, its rows in the given order. Arguments and errors as `commit`."""
        chosen = schema or schemas.table(table).schema
        columns = list(schemas.table(table).partition_by if partition_by is None else partition_by)
        parts = write_partitions(self.staging(table), chosen, columns, frame, self.storage_options)
        return self.commit(table, parts, schema=chosen, partition_by=columns, replace=replace, note=note)

    def write_parts(self, table: str, frame: pl.DataFrame) -> list[PartFile]:
        """Writes rows of a described table as part files, one for each partition, to be committed with others."""
        spec = schemas.table(table)
        return write_partitions(self.staging(table), spec.schema, spec.partition_by, frame, self.storage_options)

    def delete(self, table: str, predicate: pl.Expr, within: Sequence[dict[str, str]] | None = None) -> int:
        """Deletes the rows for which `predicate` holds and removes their bytes; returns how many rows went.

        within: only files of these partitions are read (None: all). Only files that hold such rows are rewritten, in
        one transaction. Older table versions become unreadable, for their files are removed too.
        Raises TableMissing, CommitConflict.
        """
        from deltalake.exceptions import CommitFailedError

        for _ in range(COMMIT_ATTEMPTS):
            delta = self._open(table, None)
            add, remove, deleted = [], [], 0
            for part in self._parts(table, delta, None):
                if within is not None and not any(_within(part, partition) for partition in within):
                    continue
                rows = read_part(self.staging(table), part, self.storage_options)
                literals = [pl.lit(value).alias(column) for column, value in part.partition.items()]
                frame = pl.DataFrame(pl.from_arrow(rows)).with_columns(literals)
                keep = frame.select((~predicate).fill_null(True).alias("keep"))["keep"]
                if keep.all():
                    continue
                deleted += rows.num_rows - int(keep.sum())
                remove.append(part)
                with PartWriter(self.staging(table), rows.schema, part.partition, self.storage_options) as writer:
                    writer.write(rows.filter(keep.to_arrow()))
                add += [writer.part] if writer.part else []
            if not remove:
                return 0
            try:
                self._transact(delta, add=add, remove=remove, replaced=None)
            except CommitFailedError:
                continue
            self.vacuum(table)
            return deleted
        raise CommitConflict(f"{table}: others kept rewriting its rows {COMMIT_ATTEMPTS} times; run again")

    def vacuum(self, table: str, *, full: bool = False) -> list[str]:
        """Removes every file that earlier versions named and the current one does not; returns their paths.

        full: also files that no version named, which workers may be about to commit. Raises TableMissing.
        """
        delta = self._open(table, None)
        removed = delta.vacuum(0, dry_run=False, enforce_retention_duration=False, full=full)
        return sorted(removed)

    # ---- artifacts and scratch ----

    def work_dir(self, asset: str, key: str) -> Path:
        """Resumable scratch of one piece of work; `key` hashes its inputs, configuration and code version."""
        path = self.local / "work" / asset / key
        path.mkdir(parents=True, exist_ok=True)
        return path

    def commit_dir(self, asset: str, source: Path, partition: str | None = None) -> Commit:
        """Commits a directory as the current version of an artifact (assets.artifacts). Raises CorruptArtifact."""
        return self.artifacts.commit(asset, source, partition)

    def open_dir(self, asset: str, partition: str | None = None, digest: str | None = None) -> Path:
        """The verified directory of an artifact. Raises ArtifactMissing, CorruptArtifact."""
        directory = self.artifacts.open(asset, partition, digest)
        self.reads.append(Read(asset, directory.name))
        return directory

    # ---- Delta ----

    def _delta(self, table: str, version: int | None = None) -> DeltaTable:
        return opened(self.root, table, version, self.storage_options)

    def _open(self, table: str, snapshot: str | None, version: int | None = None) -> DeltaTable:
        delta = self._delta(table, version)
        if snapshot is not None and not any(p.partition.get("snapshot") == snapshot for p in self._add_actions(delta)):
            app_id = _app_id({"snapshot": snapshot})
            if delta.transaction_version(app_id) is None and delta.transaction_version(_app_id({})) is None:
                made_by = schemas.TABLES[table].made_by if table in schemas.TABLES else f"the asset {table}"
                raise TableMissing(f"the table {table} holds no snapshot {snapshot} yet: {made_by} makes it")
        return delta

    def _create(self, table: str, schema: pa.Schema | None, partition_by: Sequence[str] | None) -> DeltaTable:
        chosen = schemas.table(table).schema if schema is None else schema
        columns = list(schemas.table(table).partition_by if partition_by is None else partition_by)
        uri = self.staging(table)
        if self.is_local:
            Path(uri).mkdir(parents=True, exist_ok=True)
        create(self.root, table, chosen, columns, self.storage_options)
        delta = self._delta(table)
        if (present := delta.metadata().partition_columns) != columns:
            cut = f"{table} is partitioned by {present} in the lake and by {columns} now"
            raise SchemaConflict(f"{cut}, as an earlier version made it: remove the folder {uri}, then make it again")
        known = {f.name: f.type for f in pa.schema(delta.schema().to_arrow())}
        wanted = {f.name: f.type for f in chosen}
        for name in wanted.keys() & known.keys():
            if _logical(known[name]) != _logical(wanted[name]):
                raise SchemaConflict(f"{table}.{name} is {known[name]} in the lake and {wanted[name]} in the new rows")
        if new := wanted.keys() - known.keys():
            from deltalake import Schema

            fields = Schema.from_arrow(pa.schema([chosen.field(name) for name in chosen.names if name in new])).fields
            delta.alter.add_columns(fields)
            delta = self._delta(table)
        return delta

    def _transact(
        self, delta: DeltaTable, *, add: Parts, remove: Parts, replaced: Named | None, note: Named | None = None
    ) -> None:
        from deltalake import CommitProperties
        from deltalake.transaction import AddAction, RemoveAction, Transaction

        now_ms = int(time.time() * 1000)  # for Delta's own bookkeeping; no row or data version holds it
        marks = []
        if replaced is not None:  # of two that replace one partition from the same state, the second must look again
            app_id = _app_id(replaced)
            seen = delta.transaction_version(app_id)
            if seen is not None and not add and not remove:
                return
            marks = [Transaction(app_id, (seen or 0) + 1)]
        elif not add and not remove:
            return
        actions = [
            AddAction(p.path, p.bytes, p.partition, now_ms, True, json.dumps({"numRecords": p.rows})) for p in add
        ]
        removes = [RemoveAction(p.path, True, now_ms, p.bytes, dict(p.partition)) for p in remove]
        reads = {table: seen for (table, snapshot), seen in self._seen.items() if _same_snapshot(snapshot, replaced)}
        said = {NOTE: json.dumps({**(note or {}), "reads": reads}, sort_keys=True)}
        properties = CommitProperties(app_transactions=marks or None, custom_metadata=said)
        columns = delta.metadata().partition_columns
        delta.create_write_transaction(
            [*actions, *removes], "append", delta.schema(), columns, commit_properties=properties
        )
        delta.update_incremental()

    def _add_actions(self, delta: DeltaTable) -> list[PartFile]:
        columns = delta.metadata().partition_columns
        wanted = ["path", "num_records", "size_bytes", *(f"partition.{column}" for column in columns)]
        rows = pl.DataFrame(delta.get_add_actions(flatten=True)).select(wanted).to_dicts()  # pyarrow asks pandas first
        return sorted(
            (
                PartFile(
                    path=unquote(row["path"]),
                    sha256=Path(row["path"]).stem,
                    rows=int(row["num_records"]),
                    bytes=int(row["size_bytes"]),
                    partition={column: str(row[f"partition.{column}"]) for column in columns},
                )
                for row in rows
            ),
            key=lambda part: part.path,
        )

    def _parts(self, table: str, delta: DeltaTable, snapshot: str | None) -> list[PartFile]:
        parts = self._add_actions(delta)
        return parts if snapshot is None else [p for p in parts if p.partition.get("snapshot") == snapshot]

    def _check_part(self, table: str, part: PartFile) -> None:
        place = f"{self.staging(table)}/{part.path}"
        if self.is_local:
            size = os.path.getsize(place) if os.path.exists(place) else None
        else:
            fs, path = filesystem(place, self.storage_options)
            size = fs.info(path)["size"] if fs.exists(path) else None
        if size != part.bytes:
            raise PartMissing(f"{place}: expected a part file of {part.bytes} bytes, found {size}")
        if partition_folder(part.partition) != part.path.rpartition("/")[0]:
            raise ValueError(f"{place} is not in the folder of its partition {part.partition}")

    def verify(self, *tables: str, snapshot: str | None = None) -> None:
        """Compares every local file of the tables (of one snapshot) with its sha256; those in a store are compared as
        they are read. Raises TableMissing, PartMissing, PartDamaged."""
        for table in tables if self.is_local else ():
            for part in self._parts(table, self._open(table, snapshot), snapshot):
                path = f"{self.staging(table)}/{part.path}"
                try:
                    check(path, part.sha256)
                except FileNotFoundError as error:
                    raise PartMissing(f"{path}: absent, though {table} names it; materialize it again") from error

    def _record(self, table: str, delta: DeltaTable, snapshot: str | None) -> None:
        version = data_version(self._parts(table, delta, snapshot))
        self.reads.append(Read(table, version))
        self._seen[table, snapshot] = version


def _app_id(replaced: dict[str, str]) -> str:
    return f"partition:{partition_folder(replaced)}"


def _same_snapshot(snapshot: str | None, replaced: dict[str, str] | None) -> bool:
    return snapshot is not None and snapshot == (replaced or {}).get("snapshot")


def _within(part: PartFile, partition: dict[str, str]) -> bool:
    return all(part.partition.get(column) == value for column, value in partition.items())


def _without(parts: Sequence[PartFile], others: Sequence[PartFile]) -> list[PartFile]:
    known = {part.path for part in others}
    return [part for part in parts if part.path not in known]


def _describe(parts: Sequence[PartFile], version: int) -> Commit:
    return Commit(data_version(parts), sum(p.rows for p in parts), sum(p.bytes for p in parts), version)


def _logical(kind: pa.DataType) -> str:
    """A type's name with Arrow's large and view variants, which Delta does not distinguish, made one."""
    return str(kind).replace("large_", "").replace("_view", "").replace("element:", "item:")
