"""The columns of a columnar index that a plan reads, with their types, and what is wrong with a row.

The schema is cc-index-table's (flat form). Columns that came later than the first crawls, and columns with opt-out
signals that no public index has yet, may be absent.
"""

from __future__ import annotations

import polars as pl

REQUIRED: dict[str, pl.DataType] = {
    "url": pl.String(),
    "url_host_name": pl.String(),
    "fetch_status": pl.Int16(),
    "content_digest": pl.String(),
    "content_mime_detected": pl.String(),
    "warc_filename": pl.String(),
    "warc_record_offset": pl.Int64(),
    "warc_record_length": pl.Int64(),
}
OPTIONAL: dict[str, pl.DataType] = {
    "url_host_registered_domain": pl.String(),
    "content_languages": pl.String(),  # since CC-MAIN-2018-39
    "content_truncated": pl.String(),  # since CC-MAIN-2019-47
    # opt-outs, where whoever made the index recorded them: header values and content of the meta elements
    "x_robots_tag": pl.String(),
    "meta_robots": pl.String(),
    "tdm_reservation": pl.String(),
}
MAX_RECORD_BYTES = 64 << 20  # compressed; a longer record would not be read as a page either
MAX_FILE_BYTES = 1 << 40
# a path below the source: no scheme, no empty, "." or ".." part, no character that means something in a URL or shell
SAFE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.+=,@-]*(/[A-Za-z0-9_][A-Za-z0-9_.+=,@-]*)*$"
SHA1_BASE32 = r"^[A-Z2-7]{32}$"


class ColumnMissing(LookupError):
    """The index has no column of that name, and the query needs it."""


class ColumnType(TypeError):
    """A column of the index holds values of another type than the schema says."""


def read_columns(frame: pl.LazyFrame, needed: set[str], *others: str) -> pl.LazyFrame:
    """The frame with REQUIRED and OPTIONAL columns in their types, absent optional ones null, and `others` as they are.

    needed: optional columns that the selection asks about. Raises ColumnMissing and ColumnType before any row is read.
    """
    found = frame.collect_schema()
    for name in (*REQUIRED, *sorted(needed)):
        if name not in found:
            raise ColumnMissing(f"the index has no column {name}; it has {', '.join(found)}")
    columns = [pl.col(name) for name in others]
    for name, dtype in (REQUIRED | OPTIONAL).items():
        if name not in found:
            columns.append(pl.lit(None, dtype=dtype).alias(name))
        elif found[name] == dtype:
            columns.append(pl.col(name))
        elif found[name].is_integer() and dtype.is_integer():
            columns.append(pl.col(name).cast(dtype, strict=False))
        elif found[name] in (pl.Categorical, pl.Null):
            columns.append(pl.col(name).cast(dtype))
        else:
            raise ColumnType(f"column {name} of the index is {found[name]}, expected {dtype}")
    return frame.select(columns)


def flaw() -> pl.Expr:
    """Why a row can lead to no record: bad_filename, bad_offset, bad_length or bad_digest; null for a usable row."""
    offset, length = pl.col("warc_record_offset"), pl.col("warc_record_length")
    name, digest = pl.col("warc_filename"), pl.col("content_digest")
    return (
        pl.when(name.is_null() | ~name.str.contains(SAFE_NAME))
        .then(pl.lit("bad_filename"))
        .when(offset.is_null() | (offset < 0) | (offset > MAX_FILE_BYTES))
        .then(pl.lit("bad_offset"))
        .when(length.is_null() | (length <= 0) | (length > MAX_RECORD_BYTES))
        .then(pl.lit("bad_length"))
        .when(digest.is_not_null() & ~digest.str.contains(SHA1_BASE32))
        .then(pl.lit("bad_digest"))
    )
