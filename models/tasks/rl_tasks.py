"""`python -m models rl-tasks`: problems for reinforcement learning and a held-out part to measure it on.

The split is a fixed function of the problem id (models/tasks/families.py), so no problem is ever in two of
instruction data, RL training and evaluation. `exclude` guards against instruction data from elsewhere: its problems
are left out and counted.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.artifacts import building, publish, seal
from models.config import InputError
from models.data.provenance import PROVENANCE, provenance
from models.recipes import resolve
from models.tasks.mixture import draw


def _field(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, False, {"meaning": meaning})


TASKS = pa.schema(
    [
        _field("task_id", pa.string(), "the problem id, a hash of family and question"),
        _field("family", pa.string(), "kind of problem"),
        _field("question", pa.string(), "what the policy reads"),
        _field("answer", pa.string(), "what its answer is compared with"),
        _field("level", pa.int32(), "1 easiest to 3"),
        _field("split", pa.string(), "train or heldout"),
        *PROVENANCE,
    ]
)


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `rl-tasks` command. Config: recipe, optional exclude (Parquet files with problem_id or candidate_id).

    Publishes tasks.parquet (TASKS, sorted by split and task_id); families are equally frequent.
    """
    recipe = resolve(config)
    tasks = recipe.tasks
    excluded = problem_ids(config.get("exclude", []))
    rows, counts = [], {"excluded": len(excluded)}
    for split, total in (("train", tasks.train), ("heldout", tasks.heldout)):
        mixture = draw(
            tasks.families,
            total,
            zipf=0.0,
            level_shares=tasks.level_shares,
            seed=recipe.seed,
            roles=(split,),
            exclude=excluded,
        )
        if not mixture.problems:
            raise InputError(f"the recipe's families give no {split} task that is not excluded")
        counts |= {split: len(mixture.problems), f"{split}_shortfall": sum(mixture.shortfall.values())}
        rows += [
            {
                "task_id": problem.problem_id,
                "family": problem.family,
                "question": problem.question,
                "answer": problem.answer,
                "level": problem.level,
                "split": split,
                **provenance(problem.origin),
            }
            for problem in sorted(mixture.problems, key=lambda problem: problem.problem_id)
        ]
    with building(out / "final") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=TASKS), temporary / "tasks.parquet")
        manifest = seal(temporary, "tasks", {**counts, "seed": recipe.seed, "families": list(tasks.families)})
        publish(temporary, out / "final")
    report(f"rl-tasks: {counts['train']} to train on, {counts['heldout']} held out, {len(tasks.families)} families")
    return {key: value for key, value in manifest.items() if key != "files"}


def problem_ids(files: Sequence[str | Path]) -> frozenset[str]:
    """Problem ids that Parquet files name, in problem_id or as the head of candidate_id. InputError if in neither."""
    found: set[str] = set()
    for file in files:
        try:
            columns = pq.read_schema(file).names
            column = next(name for name in ("problem_id", "candidate_id") if name in columns)
            values = pq.read_table(file, columns=[column])[column].to_pylist()
        except StopIteration as error:
            raise InputError(f"{file} has neither a column problem_id nor candidate_id") from error
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{file} cannot be read as Parquet: {error}") from error
        found |= {value.split("-")[0] for value in values}
    return frozenset(found)
