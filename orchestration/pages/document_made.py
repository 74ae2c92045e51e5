"""Rows of made data that were made from a document's text: what a model wrote, or a problem, and from what."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from assets.artifacts import ArtifactMissing
from assets.descent import ID_COLUMNS, MADE_DATA, naming
from assets.lake import Lake

ROWS_SHOWN = 5  # of each kind of made data
SHOWN = ("question", "prompt", "answer", "solution", "teacher", "generator")  # columns, where they are there


@dataclass(frozen=True)
class Made:
    """What was made from a document in the version in use of one kind of made data: how many rows, and some."""

    asset: str
    rows: int
    some: tuple[dict[str, Any], ...]


def made_from(lake: Lake, doc_id: str) -> list[Made]:
    """The made data in use that names the document as what it was made from."""
    found = []
    for asset, name in MADE_DATA.items():
        try:
            file = lake.artifacts.root / asset / lake.artifacts.version_of(asset) / name
        except ArtifactMissing:
            continue
        columns = pl.read_parquet_schema(file)
        rows = pl.read_parquet(file, columns=[one for one in (*ID_COLUMNS, *SHOWN) if one in columns])
        ours = rows.filter(naming(rows, {doc_id}))
        if ours.height:
            some = ours.head(ROWS_SHOWN).select([one for one in SHOWN if one in ours.columns])
            found.append(Made(asset, ours.height, tuple(some.to_dicts())))
    return found
