"""Descent: what lies in artifacts of some documents: their tokens, what was made of them, and every model that read it.

A chain crosses made data. A document's text goes into a row (its `doc_ids`), a model that read the document writes a
row (`teacher_model`) or decides which rows stay (`chosen_with`), another model learns from such rows (its
`consumed.parquet`), and so on. Answered from these records and from the parents in manifests, to a fixed point.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from assets.artifacts import ArtifactMissing
from assets.lake import Lake

CHILDREN = ("sft_model", "rl_model", "released_model")  # each names its parent's digest in its manifest
MODELS = ("base_model", *CHILDREN)
MADE_DATA = {
    "synthetic_candidates": "candidates.parquet",
    "diverse_candidates": "selected.parquet",
    "sft_dataset": "sft.parquet",
    "rl_tasks": "tasks.parquet",
}
MADE_ROWS = {"preferences": ("model_a", "model_b")}  # tables of what models wrote, with the columns that name them
READ, PARENT_READ = "read in training", "a parent read it"
READ_DERIVED, READ_TAUGHT = "read what was made from it", "read what a model that read it made"
SAW = (READ, PARENT_READ, READ_DERIVED, READ_TAUGHT)  # how a model came to know a document, nearest first
MADE_FROM, MADE_BY, CHOSEN_WITH = "made from", "made by a model that read it", "chosen with a model that read it"
MEASURED_WITH = "measured with a model that read it"
ID_COLUMNS = ("doc_id", "doc_ids")  # where rows of made data say which documents they come from
ORIGIN_COLUMNS = (*ID_COLUMNS, "teacher_model", "chosen_with")
DESCENDANTS = (MADE_FROM, MADE_BY, CHOSEN_WITH, MEASURED_WITH)


@dataclass(frozen=True)
class Holding:
    """One thing that holds the pages.

    `version`: data version of the rows, or digest of the directory; `what` is held: "rows", "rows of earlier versions",
    "spans", one of SAW, one of DESCENDANTS, "export"; `documents` of those asked for, and `tokens` of them; `rows` of
    made data that descend from them. `current`: whether it is the version in use.
    """

    asset: str
    partition: str
    version: str
    what: str
    documents: int
    tokens: int = 0
    current: bool = True
    place: str = ""
    rows: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Origins:
    """What the rows of a file of made data, or of a model's consumed.parquet, come from."""

    documents: set[str] = field(default_factory=set)  # of those asked for, whose text went in
    rows: int = 0  # in which they did
    tokens: int = 0  # of those rows, where the file counts tokens
    teachers: Counter[str] = field(default_factory=Counter)  # rows by digest of the model that wrote them
    choosers: Counter[str] = field(default_factory=Counter)  # rows by digest of the model that chose them


def artifacts_held(lake: Lake, ids: set[str]) -> list[Holding]:
    """Token shards, checkpoints, made data and what was measured of it that descend from these documents.

    Every version that is there, those in use and others.
    """
    if not ids:
        return []
    root, wanted = lake.artifacts.root, pl.col("doc_id").is_in(sorted(ids))
    held: list[Holding] = []

    def holding(directory: Path, what: str, documents: int, tokens: int = 0, rows: int = 0) -> Holding:
        asset, current = directory.parent.name, is_current(lake, directory)
        return Holding(asset, "", directory.name, what, documents, tokens, current, rows=rows)

    for directory in versions(root, "token_shards"):
        spans = _rows(directory.glob("*.spans.parquet"), wanted)
        if not spans.is_empty():
            held.append(holding(directory, "spans", spans["doc_id"].n_unique(), int(spans["length"].sum())))
    saw: dict[str, Holding] = {}
    for directory in (*versions(root, "base_model"), *versions(root, "quality_classifier")):
        read = _rows([directory / "consumed.parquet"], wanted)
        if not read.is_empty():
            saw[directory.name] = holding(directory, READ, read.height, int(read["tokens"].sum()))
    children = {d: origins(d / "consumed.parquet", ids) for asset in CHILDREN for d in versions(root, asset)}
    while True:
        learnt = [(d, why) for d, own in children.items() if d.name not in saw and (why := _why(d, own, saw))]
        if not learnt:
            break
        for directory, (what, documents, tokens) in learnt:
            saw[directory.name] = holding(directory, what, documents, tokens)
    for asset, name in MADE_DATA.items():
        for directory in versions(root, asset):
            own = origins(directory / name, ids)
            if own.documents:
                held.append(holding(directory, MADE_FROM, len(own.documents), rows=own.rows))
            for what, by in ((MADE_BY, own.teachers), (CHOSEN_WITH, own.choosers)):
                if knowing := set(by) & set(saw):
                    documents, rows = max(saw[one].documents for one in knowing), sum(by[one] for one in knowing)
                    held.append(holding(directory, what, documents, rows=rows))
    held += rows_by(lake, saw)
    for directory in versions(root, "gradient_features"):
        manifest = manifest_of(directory)
        if (one := saw.get(manifest.get("parent", ""))) is not None:
            held.append(holding(directory, MEASURED_WITH, one.documents, rows=manifest.get("rows", 0)))
    return [*held, *saw.values()]


def rows_by(lake: Lake, saw: dict[str, Holding]) -> list[Holding]:
    """The tables that have rows which one of these models wrote."""
    held = []
    for table, columns in MADE_ROWS.items() if saw else ():
        if not lake.exists(table):
            continue
        by = [pl.col(column).is_in(sorted(saw)) for column in columns]
        rows = lake.scan(table).filter(pl.any_horizontal(by)).select(columns).collect()
        if rows.height:
            documents = max(saw[one].documents for one in {*rows.to_numpy().flat} & set(saw))
            held.append(Holding(table, "", lake.version_of(table), MADE_BY, documents, rows=rows.height))
    return held


def _why(directory: Path, own: Origins, saw: dict[str, Holding]) -> tuple[str, int, int] | None:
    """(how a model knows the documents, how many, of how many tokens), the nearest way; None where it does not."""
    if (parent := saw.get(manifest_of(directory).get("parent", ""))) is not None:
        return PARENT_READ, parent.documents, parent.tokens
    if own.documents:
        return READ_DERIVED, len(own.documents), own.tokens
    if knowing := set(own.teachers) & set(saw):
        return READ_TAUGHT, max(saw[one].documents for one in knowing), 0
    return None


def origins(path: Path, ids: set[str]) -> Origins:
    """What the rows of a Parquet file come from, as far as it says; nothing where there is no file."""
    if not path.is_file():
        return Origins()
    there = set(pq.read_schema(path).names)
    rows = pl.read_parquet(path, columns=sorted(there & {*ORIGIN_COLUMNS, "tokens"}))
    named = rows.filter(naming(rows, ids))
    documents = {one for column in ID_COLUMNS if column in there for one in ids & set(_flat(named[column]))}
    tokens = int(named["tokens"].sum()) if "tokens" in there else 0
    teachers, choosers = (
        Counter(rows[column].drop_nulls().to_list() if column in there else ())
        for column in ("teacher_model", "chosen_with")
    )
    return Origins(documents, named.height, tokens, teachers, choosers)


def naming(rows: pl.DataFrame, ids: set[str]) -> pl.Series:
    """Whether each row names one of the documents as what it was made from."""
    wanted, found = sorted(ids), pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True)
    for column in set(ID_COLUMNS) & set(rows.columns):
        values = rows[column]
        if isinstance(values.dtype, pl.List):
            found |= values.list.eval(pl.element().is_in(wanted)).list.any().fill_null(False)
        else:
            found |= values.is_in(wanted).fill_null(False)
    return found


def versions(root: Path, asset: str) -> list[Path]:
    """The directories of every version of an artifact, sorted."""
    return sorted(
        path.parent for path in (root / asset).glob("*/manifest.json") if not path.parent.name.startswith(".")
    )


def manifest_of(directory: Path) -> dict[str, Any]:
    """The manifest of an artifact's directory, unverified."""
    return json.loads((directory / "manifest.json").read_bytes())


def is_current(lake: Lake, directory: Path) -> bool:
    """Whether an artifact's directory is the version in use."""
    try:
        return lake.artifacts.version_of(directory.parent.name) == directory.name
    except ArtifactMissing:
        return False


def _flat(values: pl.Series) -> pl.Series:
    return values.explode() if isinstance(values.dtype, pl.List) else values


def _rows(files: Iterable[Path], wanted: pl.Expr) -> pl.DataFrame:
    paths = [path for path in files if path.is_file()]
    if not paths:
        return pl.DataFrame()
    return pl.scan_parquet(paths, hive_partitioning=False).filter(wanted).collect(engine="streaming")
