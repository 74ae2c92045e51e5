"""`python -m models synthesize`: candidates for instruction data, problems that a teacher solved and a vote judged.

One row per problem: the first solution that agrees with the majority, or the first of all where there is none.
`valid` and `reason` come from the vote alone; the gold answer stands beside it only so that the gate itself can be
measured.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.artifacts import building, canonical_json, publish, seal, write_json
from models.config import InputError, SynthesisRecipe
from models.data.provenance import provenance
from models.recipes import resolve
from models.tasks.candidates import CANDIDATES
from models.tasks.families import Problem
from models.tasks.mixture import draw
from models.tasks.server import ServerTeacher
from models.tasks.teachers import CheckpointTeacher, ProceduralTeacher, Solution, Teacher, skewed_error_rates
from models.tasks.verify import normalise, verify
from models.tasks.votes import REASONS, majority

PROBLEMS_AT_ONCE = 256  # solved, then written to the work directory: what a restart does not ask again


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `synthesize` command. Config: recipe, optional teacher {"kind": procedural | openai | checkpoint, …}.

    openai takes base_url, model and optionally api_key_env (the name of a variable); checkpoint takes model_dir.
    Publishes candidates.parquet (CANDIDATES, sorted by candidate_id) and returns the figures of `gate`.
    """
    recipe = resolve(config)
    synthesis = recipe.synthesis
    teacher = make_teacher(config.get("teacher", {"kind": "procedural"}), synthesis, recipe.threads)
    mixture = draw(
        synthesis.families,
        synthesis.problems,
        zipf=synthesis.zipf,
        level_shares=synthesis.level_shares,
        seed=recipe.seed,
        roles=("sft",),
    )
    report(f"synthesize: {len(mixture.problems)} problems of {len(synthesis.families)} families for {teacher.name}")
    solutions = _solve(teacher, mixture.problems, synthesis, recipe.seed, out, report)
    rows = candidates(mixture.problems, solutions, teacher)
    figures = {**gate(rows), "shortfall": sum(mixture.shortfall.values())}
    with building(out / "final") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=CANDIDATES), temporary / "candidates.parquet")
        write_json(temporary / "report.json", {**figures, "shortfall_by_family": mixture.shortfall})
        manifest = seal(temporary, "candidates", {**figures, "teacher": teacher.name, "seed": recipe.seed})
        publish(temporary, out / "final")
    report(
        f"synthesize: the vote drops {figures['dropped']} of {figures['candidates']};"
        f" wrong answers {figures['wrong_before']:.1%} before, {figures['wrong_after']:.1%} after"
    )
    return {key: value for key, value in manifest.items() if key != "files"}


def candidates(
    problems: Sequence[Problem], solutions: Sequence[Sequence[Solution]], teacher: Teacher
) -> list[dict[str, Any]]:
    """Rows of CANDIDATES, sorted by candidate_id, from each problem's solutions."""
    rows = []
    for problem, given in zip(problems, solutions, strict=True):
        verdict = majority([solution.answer for solution in given])
        agreeing = [s for s in given if verdict.valid and normalise(s.answer) == verdict.answer]
        shown = (agreeing or given)[0]
        origin = hashlib.sha256(f"{teacher.name}\0{shown.seed}\0{shown.text}".encode()).hexdigest()[:8]
        rows.append(
            {
                "candidate_id": f"{problem.problem_id}-{origin}",
                "problem_id": problem.problem_id,
                "family": problem.family,
                "level": problem.level,
                "question": problem.question,
                "answer": verdict.answer,
                "solution": shown.text,
                "gold_answer": problem.answer,
                "votes": verdict.votes,
                "majority": verdict.majority,
                "valid": verdict.valid,
                "reason": verdict.reason,
                "seed": shown.seed,
                **provenance(
                    problem.origin,
                    teacher=teacher.name,
                    teacher_version=teacher.version,
                    teacher_model=teacher.checkpoint,
                ),
            }
        )
    return sorted(rows, key=lambda row: row["candidate_id"])


def gate(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the vote did: how many candidates it dropped and why, and the share of wrong ones before and after.

    "Before" judges the solution that stands in the row, "after" only the rows that the vote let through.
    """
    kept = [row for row in rows if row["valid"]]
    reasons = Counter(row["reason"] for row in rows if not row["valid"])
    before = sum(not verify(row["gold_answer"], row["solution"]) for row in rows)
    after = sum(not verify(row["gold_answer"], row["solution"]) for row in kept)
    return {
        "candidates": len(rows),
        "valid": len(kept),
        "dropped": len(rows) - len(kept),
        **{f"dropped_{reason}": reasons[reason] for reason in REASONS},
        "wrong_before": before / len(rows) if rows else 0.0,
        "wrong_after": after / len(kept) if kept else 0.0,
        "wrong_left": after,
    }


def make_teacher(spec: dict[str, Any], synthesis: SynthesisRecipe, threads: int) -> Teacher:
    """The teacher that a configuration names; InputError when a key is missing, unknown or cannot be used."""
    allowed = {"procedural": set(), "openai": {"base_url", "model", "api_key_env"}, "checkpoint": {"model_dir"}}
    kind = spec.get("kind")
    if kind not in allowed or set(spec) - allowed[kind] - {"kind"}:
        known = "; ".join(f"{name}: {', '.join(sorted(keys)) or 'no keys'}" for name, keys in allowed.items())
        raise InputError(f"teacher {spec} cannot be used; kind is one of {known}")
    if kind == "procedural":
        rates = skewed_error_rates(synthesis.error_rate, synthesis.error_skew, synthesis.families)
        return ProceduralTeacher(rates, synthesis.typical_share)
    if missing := sorted(allowed[kind] - {"api_key_env"} - set(spec)):
        raise InputError(f"teacher of kind {kind} needs {', '.join(missing)}")
    if kind == "checkpoint":
        from models.training.loop import deterministic

        deterministic(threads, 0)
        return CheckpointTeacher(
            Path(spec["model_dir"]), temperature=synthesis.temperature, max_new_tokens=synthesis.max_tokens
        )
    key_name = spec.get("api_key_env")
    if key_name and key_name not in os.environ:
        raise InputError(f"teacher.api_key_env names {key_name}, which is not set in the environment")
    return ServerTeacher(
        spec["base_url"],
        spec["model"],
        os.environ[key_name] if key_name else None,
        temperature=synthesis.temperature,
        max_tokens=synthesis.max_tokens,
    )


def _solve(
    teacher: Teacher, problems: Sequence[Problem], synthesis: SynthesisRecipe, seed: int, out: Path, report
) -> list[list[Solution]]:
    """All solutions, chunk by chunk; a chunk that a killed run has written is read back, not asked again."""
    solutions: list[list[Solution]] = []
    for first in range(0, len(problems), PROBLEMS_AT_ONCE):
        chunk = problems[first : first + PROBLEMS_AT_ONCE]
        identity = [teacher.name, repr(synthesis), seed, [problem.problem_id for problem in chunk]]
        name = hashlib.sha256(canonical_json(identity)).hexdigest()[:16]
        path = out / "solutions" / f"{name}.json"
        if not path.is_file():
            solved = teacher.solve(chunk, synthesis.votes, seed)
            write_json(path, [[[s.text, s.answer, s.seed] for s in row] for row in solved])
            report(f"synthesize: {first + len(chunk)} of {len(problems)} problems solved")
        solutions += [[Solution(*fields) for fields in row] for row in json.loads(path.read_bytes())]
    return solutions
