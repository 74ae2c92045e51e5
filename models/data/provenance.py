"""What a row of made data was made from: the columns that candidates, examples and tasks share, with their meaning.

Every such row has an id of its own, a hash of its content, and these columns. They pass on: what is made from a row
names that row as its parent and keeps its problem, its teacher and its documents, so each file answers by itself where
its rows come from, also when the files before it are gone. Data from elsewhere that lack a column have null there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa


def _field(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, metadata={"meaning": meaning})


PROVENANCE = pa.schema(
    [
        _field("generator", pa.string(), "package, version and data set that drew the problem; null: not recorded"),
        _field("problem_seed", pa.int64(), "seed of that data set"),
        _field("problem_index", pa.int64(), "place in it of the first entry that is this problem"),
        _field("teacher", pa.string(), "who wrote the solution; null: nobody, the answer is the generator's"),
        _field("teacher_version", pa.string(), "which version of the teacher; null where it does not say"),
        _field("teacher_model", pa.string(), "digest of the teacher where it is a model of ours, whose own data count"),
        _field("chosen_with", pa.string(), "digest of the model by whose gradients the row was chosen; null: by none"),
        _field("parents", pa.list_(pa.string()), "ids of the rows that this one was made from"),
        _field("doc_ids", pa.list_(pa.string()), "documents whose text went in, its parents' included"),
    ]
)
DOCUMENTS = ("teacher_model", "doc_ids")  # by these a row leads to documents: through a model, or itself


@dataclass(frozen=True)
class Origin:
    """Where a problem was drawn: entry `index` of the data set that `generator` makes with `seed`."""

    generator: str
    seed: int
    index: int


def provenance(
    origin: Origin | None = None,
    *,
    teacher: str | None = None,
    teacher_version: str | None = None,
    teacher_model: str | None = None,
) -> dict[str, Any]:
    """The columns of a row that was made from a problem alone: it has no parents and no documents."""
    return {
        "generator": origin.generator if origin else None,
        "problem_seed": origin.seed if origin else None,
        "problem_index": origin.index if origin else None,
        "teacher": teacher,
        "teacher_version": teacher_version,
        "teacher_model": teacher_model,
        "chosen_with": None,
        "parents": [],
        "doc_ids": [],
    }


def passed_on(parent: Mapping[str, Any], parent_id: str) -> dict[str, Any]:
    """The columns of a row that was made from another: the same, with that row as its one parent."""
    return {name: parent.get(name) for name in PROVENANCE.names} | {"parents": [parent_id]}
