"""A lazy frame over part files that lie in an object store: each is copied, compared with its sha256, then read.

Only the columns that the query needs are decoded, and one file at a time lies on local disk. Whole files are moved
where ranges of columns would do: that is the price of rows that are surely the committed ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow.parquet as pq

from assets.parts import PartFile, filesystem
from assets.verified import whole


def scan_parts(
    root: str, parts: Sequence[PartFile], schema: pl.Schema, storage_options: dict[str, str] | None
) -> pl.LazyFrame:
    """Rows of the parts, partition columns among them. schema: the table's; a column that a part lacks is null there.

    Collecting raises PartDamaged, FileNotFoundError and what the store raises.
    """
    from polars.io.plugins import register_io_source

    def read(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        names = list(schema) if with_columns is None else with_columns
        left = n_rows
        for part in parts:
            if left == 0 or not _may_hold(part, predicate):
                continue
            frame = _read(root, part, names, schema, storage_options)
            frame = frame if left is None else frame.head(left)
            left = None if left is None else left - frame.height
            yield frame if predicate is None else frame.filter(predicate)

    return register_io_source(read, schema=schema)


def _may_hold(part: PartFile, predicate: pl.Expr | None) -> bool:
    """False where the partition alone says that no row of the part is asked for."""
    if predicate is None or not set(predicate.meta.root_names()) <= part.partition.keys():
        return True
    return not pl.DataFrame([part.partition]).filter(predicate).is_empty()


def _read(
    root: str, part: PartFile, names: list[str], schema: pl.Schema, storage_options: dict[str, str] | None
) -> pl.DataFrame:
    fs, base = filesystem(root, storage_options)
    with whole(fs, f"{base}/{part.path}", part.sha256) as path, pq.ParquetFile(path) as file:
        present = [name for name in names if name in file.schema_arrow.names]
        frame = pl.DataFrame(pl.from_arrow(file.read(columns=present))) if present else None
    if frame is None:
        frame = pl.DataFrame({"": range(part.rows)})  # no column of the file is asked for: its rows still count
    literals = {name: part.partition.get(name) for name in names if name not in present}
    return frame.select(
        pl.col(name).cast(schema[name])
        if name in present
        else pl.repeat(literals[name], frame.height, dtype=schema[name]).alias(name)
        for name in names
    )
