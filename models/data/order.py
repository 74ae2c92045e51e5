"""Which examples and problems every step reads, and what a whole run has read: functions of the seed and the step.

The loaders of instruction tuning and reinforcement take their order from here, and so do the sets that a published
model names, so they cannot differ. Token windows have theirs in models/data/loader.py.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from models.config import RlRecipe
from models.data.loader import permute
from models.data.provenance import DOCUMENTS, PROVENANCE
from models.seeds import derive
from models.tasks.families import Problem

_ORIGINS = [PROVENANCE.field(name) for name in ("teacher", *DOCUMENTS)]
EXAMPLES_CONSUMED = pa.schema(
    [
        pa.field("example_id", pa.string(), metadata={"meaning": "example that the model was trained on"}),
        pa.field("candidate_id", pa.string(), metadata={"meaning": "candidate that it was made from"}),
        pa.field("problem_id", pa.string(), metadata={"meaning": "problem that the candidate solves"}),
        pa.field("tokens", pa.int64(), metadata={"meaning": "its ids that are targets"}),
        pa.field("times", pa.int64(), metadata={"meaning": "steps that it was part of"}),
        *_ORIGINS,
    ]
)
PROBLEMS_CONSUMED = pa.schema(
    [
        pa.field("problem_id", pa.string(), metadata={"meaning": "problem that the policy was trained on"}),
        pa.field("family", pa.string()),
        pa.field("times", pa.int64(), metadata={"meaning": "draws that asked it"}),
        pa.field("samples", pa.int64(), metadata={"meaning": "answers sampled to it"}),
        *_ORIGINS,
    ]
)


def step_rows(n: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Indices of the examples of the 0-based step, (batch_size,) int64: a fresh keyed permutation every pass."""
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    rows = np.empty(batch_size, dtype=np.int64)
    for lap in np.unique(places // n):
        own = places // n == lap
        rows[own] = permute(places[own] % n, n, derive(seed, "examples", int(lap)))
    return rows


def step_problems(problems: Sequence[Problem], per_step: int, seed: int, step: int) -> list[Problem]:
    """The problems of draw `step` (from 1): consecutive pieces of a fresh shuffle per pass over the problems."""
    found = []
    for place in range((step - 1) * per_step, step * per_step):
        lap, index = divmod(place, len(problems))
        order = np.random.default_rng(derive(seed, "problems", lap)).permutation(len(problems))
        found.append(problems[order[index]])
    return found


def update_problems(problems: Sequence[Problem], recipe: RlRecipe, seed: int, step: int) -> list[Problem]:
    """The problems whose answers the 0-based update `step` learns from: its piece of the draw that it belongs to."""
    index, piece = divmod(step, recipe.updates_per_draw)
    drawn = step_problems(problems, recipe.prompts_per_step, seed, index + 1)
    size = recipe.prompts_per_step // recipe.updates_per_draw
    return drawn[piece * size : (piece + 1) * size]


def consumed_examples(training: Sequence[dict[str, Any]], steps: int, batch_size: int, seed: int) -> pa.Table:
    """Which examples a whole run reads and how often: rows of EXAMPLES_CONSUMED, in the order of the data."""
    times = np.zeros(len(training), dtype=np.int64)
    for step in range(steps):
        np.add.at(times, step_rows(len(training), batch_size, seed, step), 1)
    rows = [
        {**example, "tokens": sum(example["loss_mask"]), "times": int(count)}
        for example, count in zip(training, times, strict=True)
        if count
    ]
    return pa.Table.from_pylist(rows, schema=EXAMPLES_CONSUMED)


def consumed_problems(
    problems: Sequence[Problem], recipe: RlRecipe, seed: int, origins: Mapping[str, Mapping[str, Any]] | None = None
) -> pa.Table:
    """Which problems a whole run asks, and how often: rows of PROBLEMS_CONSUMED, sorted by problem_id.

    origins: the columns of PROVENANCE by problem_id, null where they are not given.
    """
    indices = range(1, -(-recipe.steps // recipe.updates_per_draw) + 1)
    asked = [p for index in indices for p in step_problems(problems, recipe.prompts_per_step, seed, index)]
    times = Counter(p.problem_id for p in asked)
    families = {p.problem_id: p.family for p in asked}
    rows = [
        {
            **(origins or {}).get(key, {}),
            "problem_id": key,
            "family": families[key],
            "times": times[key],
            "samples": times[key] * recipe.group_size,
        }
        for key in sorted(times)
    ]
    return pa.Table.from_pylist(rows, schema=PROBLEMS_CONSUMED)
