"""The table of instruction candidates: its schema, and reading it back from any number of Parquet files."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.config import InputError

CANDIDATES = pa.schema(
    [
        pa.field("candidate_id", pa.string(), nullable=False),  # problem_id, "-", 8 hex digits of the solution
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("family", pa.string(), nullable=False),
        pa.field("level", pa.int32(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("answer", pa.string()),  # the majority's, normalised; null without one
        pa.field("solution", pa.string(), nullable=False),
        pa.field("gold_answer", pa.string(), nullable=False),
        pa.field("votes", pa.int32(), nullable=False),  # solutions asked for
        pa.field("majority", pa.int32(), nullable=False),  # votes for the leading answer
        pa.field("valid", pa.bool_(), nullable=False),  # a strict majority agreed
        pa.field("reason", pa.string()),  # why not valid (models/tasks/votes.py); null when valid
        pa.field("teacher", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),  # of the solution
        pa.field("parents", pa.list_(pa.string()), nullable=False),  # candidates it was made from; none are, as yet
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
