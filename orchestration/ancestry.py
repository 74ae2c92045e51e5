"""What made data behind a model were made from: problems, teachers, parents, documents, and the models in between."""

from collections import deque
from pathlib import Path
from typing import Any

import polars as pl

from assets.artifacts import ArtifactMissing
from assets.descent import MADE_DATA, MODELS, manifest_of, versions
from assets.lake import Lake

TEACHER = "teacher"
LEARNT_FROM = {"sft_model": "sft_dataset", "rl_model": "rl_tasks"}
OWN_ID = {"sft_dataset": "example_id", "rl_tasks": "task_id"}
NAMED = ("generator", "problem_seed", "problem_index", "teacher_version", "chosen_with", "parents")


def rows_of(lake: Lake, asset: str, digest: str, data_version: str | None) -> pl.DataFrame:
    """What an sft_model or rl_model consumed, each row with what it was made from.

    data_version: of the data set, for the columns that the model does not keep itself; where that version is gone, rows
    that a takedown removed for example, they are missing.
    """
    consumed = pl.read_parquet(lake.open_dir(asset, digest=digest) / "consumed.parquet")
    data = LEARNT_FROM[asset]
    try:
        file = lake.open_dir(data, digest=data_version) / MADE_DATA[data]
    except ArtifactMissing:
        return consumed
    own, key = OWN_ID[data], "problem_id" if asset == "rl_model" else OWN_ID[data]
    there = [name for name in NAMED if name in pl.read_parquet_schema(file)]
    return consumed.join(pl.read_parquet(file, columns=[own, *there]), left_on=key, right_on=own, how="left")


def summary(lake: Lake, rows: pl.DataFrame) -> dict[str, Any]:
    """Counts of rows by problem generator, teacher and choosing model, and by each document whose text went in."""
    documents: dict[str, int] = {}
    if "doc_ids" in rows.columns:
        named = rows["doc_ids"].explode().drop_nulls().value_counts(sort=True)
        documents = dict(sorted(named.iter_rows()))
    return {
        "problems": rows["problem_id"].n_unique(),
        "generators": _counted(rows, "generator"),
        "teachers": _counted(rows, "teacher", "teacher_version", "teacher_model"),
        "chosen_with": [one | {"asset": _asset_of(lake, one["chosen_with"])} for one in _counted(rows, "chosen_with")],
        "documents": documents,
    }


def _counted(rows: pl.DataFrame, *columns: str) -> list[dict[str, Any]]:
    """[{column: value, …, "rows": n}] of the values that are not all null, the most frequent first."""
    there = [name for name in columns if name in rows.columns]
    if not there:
        return []
    counted = rows.filter(pl.any_horizontal(pl.col(there).is_not_null())).group_by(there).agg(pl.len().alias("rows"))
    return counted.sort("rows", *there, descending=[True, *[False] * len(there)], nulls_last=True).to_dicts()


def teachers_behind(lake: Lake, digest: str) -> list[tuple[str, str]]:
    """(asset, digest) of the models that wrote data for a model or for one behind it, and the parents of these.

    Not the model's own parents, which its trace names anyway.
    """
    there = known_models(lake)
    own = _with_parents(there, digest)
    waiting, found = deque(own), dict.fromkeys(own, "")
    while waiting:
        at = waiting.popleft()
        file = there[at] / "consumed.parquet"
        if not file.is_file() or "teacher_model" not in pl.read_parquet_schema(file):
            continue
        for teacher in pl.read_parquet(file, columns=["teacher_model"])["teacher_model"].drop_nulls().unique().sort():
            for one in _with_parents(there, teacher):
                if one not in found:
                    found[one] = TEACHER
                    waiting.append(one)
    return [(there[one].parent.name, one) for one, how in found.items() if how == TEACHER]


def known_models(lake: Lake) -> dict[str, Path]:
    """Where every version of every model lies, by digest."""
    return {path.name: path for asset in MODELS for path in versions(lake.artifacts.root, asset)}


def _with_parents(there: dict[str, Path], digest: str | None) -> list[str]:
    found: list[str] = []
    while digest in there:
        found.append(digest)
        digest = manifest_of(there[digest]).get("parent")
    return found


def _asset_of(lake: Lake, digest: str) -> str | None:
    path = known_models(lake).get(digest)
    return path.parent.name if path else None
