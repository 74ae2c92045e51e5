"""`python -m models sft-data`: selected candidates as conversations in token ids, with a loss mask and a fixed split.

One candidate makes one example: its question as the user's turn, its solution as the assistant's. Only what the
assistant has to produce is trained on: its text and its <|im_end|>. A problem is held out or not by a hash of its
problem_id alone, so more data never moves a held-out problem into training.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from models.artifacts import building, publish, seal
from models.config import InputError
from models.data.chat import render
from models.data.provenance import PROVENANCE, passed_on
from models.data.tokenizer import load_tokenizer, tokenizer_sha256
from models.recipes import resolve
from models.seeds import derive

EXAMPLES = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False, metadata={"meaning": "hash of candidate, ids and mask"}),
        pa.field("candidate_id", pa.string(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("family", pa.string(), nullable=False),
        pa.field("level", pa.int32(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False, metadata={"meaning": "right answer, for evaluation only"}),
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False, metadata={"meaning": "the conversation"}),
        pa.field("loss_mask", pa.list_(pa.bool_()), nullable=False, metadata={"meaning": "true: id is a target"}),
        pa.field("split", pa.string(), nullable=False, metadata={"meaning": "train or heldout, by problem_id"}),
        *PROVENANCE,
    ]
)
NEEDED = ("candidate_id", "problem_id", "family", "level", "question", "solution", "gold_answer", "valid")


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `sft-data` command. Config: recipe, seed, overrides, selected_files, tokenizer_dir.

    Publishes sft.parquet (EXAMPLES, sorted by candidate_id). candidates == examples + dropped, with the reasons counted
    in the manifest: invalid (no majority agreed on an answer), too_long (does not fit the model's context).
    """
    recipe = resolve(config)
    if not config.get("selected_files") or not config.get("tokenizer_dir"):
        raise InputError("sft-data needs selected_files and tokenizer_dir")
    tokenizer_dir = Path(config["tokenizer_dir"])
    rows = candidate_rows(config["selected_files"])
    made, dropped = examples(
        rows,
        load_tokenizer(tokenizer_dir),
        heldout_fraction=recipe.sft.heldout_fraction,
        max_tokens=recipe.model.max_seq_len,
    )
    counts = {name: sum(row["split"] == name for row in made) for name in ("train", "heldout")}
    for name, count in counts.items():
        if not count:
            raise InputError(f"the {len(rows)} selected candidates give no {name} example")
    figures = {
        "candidates": len(rows),
        "examples": len(made),
        **counts,
        **{f"dropped_{reason}": count for reason, count in dropped.items()},
        "tokens": sum(len(row["input_ids"]) for row in made),
        "loss_tokens": sum(sum(row["loss_mask"]) for row in made),
    }
    identity = {**figures, "tokenizer_sha256": tokenizer_sha256(tokenizer_dir)}
    with building(out / "final") as temporary:
        pq.write_table(pa.Table.from_pylist(made, schema=EXAMPLES), temporary / "sft.parquet")
        seal(temporary, "sft_data", {**identity, "heldout_fraction": recipe.sft.heldout_fraction})
        publish(temporary, out / "final")
    report(f"sft-data: {counts['train']} examples to train on, {counts['heldout']} held out")
    return figures


def examples(
    rows: Sequence[dict[str, Any]], tokenizer: Tokenizer, *, heldout_fraction: float, max_tokens: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Rows of EXAMPLES, sorted by candidate_id, and how many candidates were dropped for which reason."""
    made = []
    dropped = {"invalid": 0, "too_long": 0}
    for row in sorted(rows, key=lambda row: row["candidate_id"]):
        if not row["valid"]:
            dropped["invalid"] += 1
            continue
        turns = ({"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["solution"]})
        ids, mask = render(turns, tokenizer)  # type: ignore[arg-type]
        if len(ids) > max_tokens:
            dropped["too_long"] += 1
            continue
        made.append(
            {
                "example_id": example_id(row["candidate_id"], ids, mask),
                "candidate_id": row["candidate_id"],
                "problem_id": row["problem_id"],
                "family": row["family"],
                "level": row["level"],
                "question": row["question"],
                "answer": row["gold_answer"],
                "input_ids": ids,
                "loss_mask": mask,
                "split": split_of(row["problem_id"], heldout_fraction),
                **passed_on(row, row["candidate_id"]),
            }
        )
    return made, dropped


def split_of(problem_id: str, heldout_fraction: float) -> str:
    """ "heldout" for that share of problems, else "train": a fixed function of the problem id."""
    return "heldout" if derive(0, "sft split", problem_id) < heldout_fraction * 2**63 else "train"


def example_id(candidate_id: str, ids: Sequence[int], mask: Sequence[bool]) -> str:
    """16 hex digits that name a candidate as one tokenizer and one chat form render it."""
    content = np.array(ids, dtype="<i4").tobytes() + np.array(mask, dtype="?").tobytes()
    return hashlib.sha256(candidate_id.encode() + b"\0" + content).hexdigest()[:16]


def candidate_rows(files: Sequence[str | Path]) -> list[dict[str, Any]]:
    """The needed columns of all candidates and PROVENANCE, each candidate once; InputError names a bad file."""
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        for row in read_columns(file, NEEDED, PROVENANCE.names):
            found.setdefault(row["candidate_id"], row)
    return list(found.values())


def read_columns(file: str | Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Rows of a Parquet file, only these columns; InputError when it is missing, no Parquet, or lacks one.

    optional: columns that are null where the file lacks them, as data from elsewhere does.
    """
    if not Path(file).is_file():
        raise InputError(f"file {file} does not exist")
    try:
        names = pq.read_schema(file).names
    except pa.ArrowInvalid as error:
        raise InputError(f"{file} is not Parquet: {error}") from error
    if missing := [name for name in columns if name not in names]:
        raise InputError(f"{file} has no column {', '.join(missing)}")
    there = [name for name in optional if name in names]
    absent = dict.fromkeys(set(optional) - set(there))
    return [absent | row for row in pq.read_table(file, columns=[*columns, *there]).to_pylist()]
