"""The table of instruction candidates: its schema, and reading it back from any number of Parquet files."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.config import InputError
from models.data.provenance import PROVENANCE


def _field(name: str, kind: pa.DataType, meaning: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable, {"meaning": meaning})


CANDIDATES = pa.schema(
    [
        _field("candidate_id", pa.string(), "problem_id, -, 8 hex digits of teacher, seed and solution"),
        _field("problem_id", pa.string(), "hash of family and question"),
        _field("family", pa.string(), "kind of problem"),
        _field("level", pa.int32(), "1 easiest to 3"),
        _field("question", pa.string(), "what the model reads"),
        _field("answer", pa.string(), "the majority's, normalised; null without one", True),
        _field("solution", pa.string(), "what the teacher wrote"),
        _field("gold_answer", pa.string(), "the generator's answer, for measuring the vote alone"),
        _field("votes", pa.int32(), "solutions asked for"),
        _field("majority", pa.int32(), "votes for the leading answer"),
        _field("valid", pa.bool_(), "a strict majority agreed"),
        _field("reason", pa.string(), "why not valid (models/tasks/votes.py); null when valid", True),
        _field("seed", pa.int64(), "of the solution"),
        *PROVENANCE,
    ]
)


def read_candidates(files: Sequence[str | Path]) -> list[dict[str, Any]]:
    """All candidates of the files, sorted by candidate_id, so that how they were stored decides nothing.

    Columns beyond CANDIDATES are ignored. InputError for a file that cannot be read, a missing column, a repeated
    candidate_id, or no candidate at all.
    """
    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            missing = sorted(set(CANDIDATES.names) - set(pq.read_schema(file).names))
            if missing:
                raise InputError(f"{file} has no column {', '.join(missing)}")
            rows += pq.read_table(file, columns=CANDIDATES.names).to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{file} cannot be read as Parquet: {error}") from error
    rows.sort(key=lambda row: row["candidate_id"])
    for row, following in pairwise(rows):
        if row["candidate_id"] == following["candidate_id"]:
            raise InputError(f"candidate {row['candidate_id']} occurs twice in the candidate files")
    if not rows:
        raise InputError("the candidate files hold no candidate")
    return rows
