"""Part files: the content-named Parquet files that workers write and one Delta transaction later commits.

A part file lies under its table's root as `<partition folders>/<sha256>.parquet`. It is written under a temporary
name, synced, and renamed (S3: uploaded whole), so a name that exists always holds the bytes that it names. The same
rows in the same order give the same bytes: row groups end by the rows alone, whatever the batches were. Nothing is
read of a file that is not the bytes of its name (assets.verified).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assets.temporary import Owned, sync
from assets.verified import patiently, whole

if TYPE_CHECKING:
    import polars as pl

ROWS_PER_GROUP = 1024  # a row group ends after so many rows,
BYTES_PER_GROUP = 16 << 20  # or with the row that brings its strings to so many bytes: what a reader holds is bounded
ROWS_PER_BATCH = 128


@dataclass(frozen=True)
class PartFile:
    """One committed or committable Parquet file.

    `path` is relative to the table's root; `sha256` is of the file's bytes; `partition` maps partition column to value.
    """

    path: str
    sha256: str
    rows: int
    bytes: int
    partition: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PartFile:
        return cls(**value)


def data_version(parts: Iterable[PartFile]) -> str:
    """32 hex digits that name a set of rows: sha256 over the sorted (sha256, rows) of its parts; no path, no time."""
    lines = sorted(f"{part.sha256} {part.rows}" for part in parts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def partition_folder(partition: dict[str, str]) -> str:
    """`snapshot=…/shard=…`. Values are folder names as they are, so they may hold only letters, digits and `._-`."""
    for column, value in partition.items():
        if not value or value.startswith(".") or not all(c.isalnum() or c in "._-" for c in value):
            raise ValueError(f"{column}={value!r} cannot name a partition: use letters, digits, '.', '_' and '-'")
    return "/".join(f"{column}={value}" for column, value in partition.items())


def file_sha256(path: str | Path) -> str:
    """sha256 of a local file's bytes, in hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def filesystem(root: str, storage_options: dict[str, str] | None = None) -> tuple[Any, str]:
    """The fsspec file system of a path or URL and the path inside it.

    `storage_options` are spelled as deltalake and polars spell them (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, …).
    """
    import fsspec

    options: dict[str, Any] = {}
    if root.startswith("s3://"):
        given = {key.lower(): value for key, value in (storage_options or {}).items()}
        renamed = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "aws_session_token": "token"}
        options = {renamed[key]: value for key, value in given.items() if key in renamed}
        if "aws_endpoint_url" in given:
            options["endpoint_url"] = given["aws_endpoint_url"]
        if "aws_region" in given:
            options["client_kwargs"] = {"region_name": given["aws_region"]}
    fs, path = fsspec.core.url_to_fs(root, **options)
    return fs, path


class PartWriter:
    """Writes one part file of a table from record batches; `close()` gives the PartFile, or None where no row came.

    Args: `root` is the table's root (a folder or an s3:// URL); `schema` holds all the table's columns; those that
    `partition` names are left out of the file, as Delta keeps them in its log. As a context manager it closes on
    success and leaves nothing behind on an exception.
    """

    def __init__(
        self,
        root: str,
        schema: pa.Schema,
        partition: dict[str, str],
        storage_options: dict[str, str] | None = None,
    ) -> None:
        self.root, self.partition, self.storage_options = root, partition, storage_options
        self.folder = partition_folder(partition)
        self.schema = pa.schema([field for field in schema if field.name not in partition])
        self.local = "://" not in root
        directory = Path(root, self.folder) if self.local else Path(tempfile.gettempdir())
        self._owned = Owned(directory, "part")
        self.temporary = self._owned.path
        self.rows = 0
        self._pending: list[pa.Table] = []
        self._pending_rows = self._pending_bytes = 0
        try:
            self._writer = pq.ParquetWriter(self.temporary, self.schema, compression="zstd", compression_level=3)
        except OSError:
            self._owned.drop()
            raise
        self.part: PartFile | None = None

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Adds rows; columns are picked by name and must have the schema's types."""
        table = pa.table(batch) if isinstance(batch, pa.RecordBatch) else batch
        table = table.select(self.schema.names).cast(self.schema)
        self._pending.append(table)
        self._pending_rows += table.num_rows
        self._pending_bytes += int(_string_bytes(table).sum())
        self.rows += table.num_rows
        if self._pending_rows >= ROWS_PER_GROUP or self._pending_bytes >= BYTES_PER_GROUP:
            self._flush(whole_groups_only=True)

    def _flush(self, *, whole_groups_only: bool) -> None:
        table = pa.concat_tables(self._pending).combine_chunks()
        total = np.cumsum(_string_bytes(table))
        start = 0
        while start < table.num_rows:
            before = total[start - 1] if start else 0
            full = int(np.searchsorted(total, before + BYTES_PER_GROUP)) + 1  # behind the row that fills the group
            end = min(start + ROWS_PER_GROUP, full)
            if end > table.num_rows and whole_groups_only:
                break
            self._writer.write_table(table.slice(start, end - start), row_group_size=ROWS_PER_GROUP)
            start = min(end, table.num_rows)
        rest = table.slice(start)
        self._pending, self._pending_rows = [rest], rest.num_rows
        self._pending_bytes = int(total[-1] - (total[start - 1] if start else 0)) if len(total) else 0

    def close(self) -> PartFile | None:
        """Finishes the file and gives it its final name; where that fails, nothing is left of it."""
        try:
            if self._pending:
                self._flush(whole_groups_only=False)
            self._writer.close()
            if self.rows:
                self.part = self._publish()
        finally:
            self._owned.drop()
        return self.part

    def _publish(self) -> PartFile:
        sha256, size = file_sha256(self.temporary), self.temporary.stat().st_size
        path = "/".join(piece for piece in (self.folder, f"{sha256}.parquet") if piece)
        if self.local:
            sync(self.temporary)
            os.replace(self.temporary, Path(self.root, path))
            sync(Path(self.root, path).parent)
        else:
            fs, base = filesystem(self.root, self.storage_options)
            patiently(lambda: fs.put_file(str(self.temporary), f"{base}/{path}"))
        return PartFile(path, sha256, self.rows, size, self.partition)

    def abort(self) -> None:
        """Drops what was written."""
        try:
            self._writer.close()
        except OSError:
            pass  # a full disk refuses the end of the file too; the file goes
        finally:
            self._owned.drop()

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def write_partitions(
    root: str,
    schema: pa.Schema,
    columns: Sequence[str],
    frame: pl.DataFrame,
    storage_options: dict[str, str] | None = None,
) -> list[PartFile]:
    """Writes rows as one part file for each value of the partition columns, in the order of the rows."""
    names, parts = list(columns), []
    groups = frame.partition_by(names, as_dict=True, maintain_order=True) if names else {(): frame}
    for values, rows in groups.items():
        with PartWriter(root, schema, dict(zip(names, values)), storage_options) as writer:
            writer.write(rows.to_arrow())
        parts += [writer.part] if writer.part else []
    return parts


def _string_bytes(table: pa.Table) -> np.ndarray:
    """int64: the bytes in each row's strings."""
    sizes = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            sizes += pc.call_function("binary_length", [column]).fill_null(0).to_numpy()
    return sizes


def read_batches(
    root: str,
    parts: Iterable[PartFile],
    columns: list[str] | None = None,
    storage_options: dict[str, str] | None = None,
    batch_rows: int = ROWS_PER_BATCH,
) -> Iterator[pa.RecordBatch]:
    """Rows of part files, a hundred or so at a time, in the order of files and rows; without partition columns.

    Raises FileNotFoundError, PartDamaged before a row of the damaged file is given.
    """
    fs, base = filesystem(root, storage_options)
    for part in parts:
        with (
            whole(fs, f"{base}/{part.path}", part.sha256) as path,
            open(path, "rb") as handle,
            pq.ParquetFile(handle) as file,
        ):
            yield from file.iter_batches(batch_size=batch_rows, columns=columns)


def read_part(
    root: str, part: PartFile, storage_options: dict[str, str] | None = None, columns: list[str] | None = None
) -> pa.Table:
    """All rows of a part file, with the schema that it was written with (without partition columns).

    Raises FileNotFoundError, PartDamaged.
    """
    fs, base = filesystem(root, storage_options)
    with (
        whole(fs, f"{base}/{part.path}", part.sha256) as path,
        open(path, "rb") as handle,
        pq.ParquetFile(handle) as file,
    ):
        return file.read(columns=columns)
