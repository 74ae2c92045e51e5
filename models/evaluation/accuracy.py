"""Makes accuracy on problems with exact answers: the likeliest answer (greedy) and the average over sampled answers.

An answer counts when the model ended it by itself and the verifier accepts it, which is also what the policy is rewarded
for (models/training/rewards.py). Greedy says what the model would answer; the average over k samples at temperature 1
says how much probability it puts on being right, and moves earlier in training. Both are always reported.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from models.config import InputError
from models.data.chat import prompt_ids
from models.data.tokenizer import IM_END_ID
from models.evaluation.intervals import Estimate, bootstrap_mean, wilson
from models.inference.sampler import Completion, generate
from models.nets.transformer import Transformer
from models.tasks.families import Problem
from models.tasks.verify import verify

TASK_COLUMNS = ("problem_id", "family", "level", "question", "answer", "split")


@dataclass(frozen=True)
class Result:
    """What a model did on one problem. greedy: 0 or 1; sampled: share of its samples that were right; lengths in tokens
    with the end token."""

    problem: Problem
    greedy: float
    sampled: float
    greedy_tokens: int
    sampled_tokens: float


def load_tasks(files: Sequence[str | Path], split: str) -> list[Problem]:
    """The problems of one split ("train" or "heldout") of task files, in file order; InputError names a bad file."""
    problems: list[Problem] = []
    for file in files:
        if not Path(file).is_file():
            raise InputError(f"task file {file} does not exist")
        try:
            table = pq.read_table(file)
        except pa.ArrowInvalid as error:
            raise InputError(f"task file {file} is not Parquet: {error}") from error
        if missing := [name for name in TASK_COLUMNS if name not in table.column_names]:
            raise InputError(f"task file {file} has no column {', '.join(missing)}")
        for row in table.select(list(TASK_COLUMNS)).to_pylist():
            if row.pop("split") == split:
                problems.append(Problem(**row))
    if not problems:
        raise InputError(f"the task files hold no problem with split {split!r}: {', '.join(map(str, files))}")
    return problems


def problem_prompt(problem: Problem, tokenizer: Tokenizer) -> list[int]:
    """Token ids of the question as the user's turn, up to where the assistant answers."""
    return prompt_ids([{"role": "user", "content": problem.question}], tokenizer)


def completion_text(completion: Completion, tokenizer: Tokenizer) -> str:
    """What the assistant said, without its end token."""
    ids = completion.ids[:-1] if completion.finished else completion.ids
    return tokenizer.decode(ids, skip_special_tokens=False)


def row_seed(*identity: object) -> int:
    """A seed below 2^63 that depends on the given values alone: the same row is drawn alike in any batch."""
    text = "\0".join(map(str, identity))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def subset(problems: Sequence[Problem], most: int) -> list[Problem]:
    """At most `most` problems, spread evenly over the families and chosen by problem_id; a fixed function of the set."""
    by_family: dict[str, list[Problem]] = {}
    for problem in sorted(problems, key=lambda p: row_seed("subset", p.problem_id)):
        by_family.setdefault(problem.family, []).append(problem)
    queues = [by_family[family] for family in sorted(by_family)]
    rounds = (queue[i] for i in range(max(map(len, queues), default=0)) for queue in queues if i < len(queue))
    return [problem for problem, _ in zip(rounds, range(most), strict=False)]


def measure(
    model: Transformer,
    tokenizer: Tokenizer,
    problems: Sequence[Problem],
    *,
    max_new_tokens: int,
    samples: int,
    seed: int,
    rows: int = 256,
) -> list[Result]:
    """One greedy and `samples` sampled answers (temperature 1, whole vocabulary) per problem, in the given order.

    rows: completions that are drawn together. samples = 0 measures greedy only; `sampled` is then 0.
    """
    if not problems:
        raise InputError("accuracy needs at least one problem")
    prompts = [problem_prompt(problem, tokenizer) for problem in problems]
    greedy = _complete(model, prompts, [0] * len(prompts), 0.0, max_new_tokens, rows)
    seeds = [row_seed("accuracy", seed, p.problem_id, k) for p in problems for k in range(samples)]
    repeated = [prompt for prompt in prompts for _ in range(samples)]
    drawn = _complete(model, repeated, seeds, 1.0, max_new_tokens, rows)
    results = []
    for i, problem in enumerate(problems):
        own = drawn[i * samples : (i + 1) * samples]
        right = [_right(problem, completion, tokenizer) for completion in own]
        lengths = [len(completion.ids) for completion in own]
        results.append(
            Result(
                problem,
                _right(problem, greedy[i], tokenizer),
                float(np.mean(right)) if own else 0.0,
                len(greedy[i].ids),
                float(np.mean(lengths)) if own else 0.0,
            )
        )
    return results


def summarise(results: Sequence[Result], *, sampled: bool = True) -> dict[str, Estimate]:
    """accuracy_greedy (Wilson), accuracy_sampled and response_tokens (bootstrap over problems), overall and per family.

    A family's figures are named `metric/family`; intervals are 95%.
    """
    groups: dict[str, list[Result]] = {"": list(results)}
    for result in results:
        groups.setdefault(f"/{result.problem.family}", []).append(result)
    figures: dict[str, Estimate] = {}
    for suffix in sorted(groups):
        group = groups[suffix]
        figures[f"accuracy_greedy{suffix}"] = wilson(int(sum(r.greedy for r in group)), len(group))
        if sampled:
            figures[f"accuracy_sampled{suffix}"] = bootstrap_mean([r.sampled for r in group])
            figures[f"response_tokens{suffix}"] = bootstrap_mean([r.sampled_tokens for r in group])
    return figures


def _right(problem: Problem, completion: Completion, tokenizer: Tokenizer) -> float:
    if not completion.finished:
        return 0.0
    return verify(problem.answer, completion_text(completion, tokenizer))


def _complete(
    model: Transformer, prompts: list[list[int]], seeds: list[int], temperature: float, max_new_tokens: int, rows: int
) -> list[Completion]:
    """Completions in the order of the prompts, drawn in batches of similar prompt length."""
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    completions: list[Completion | None] = [None] * len(prompts)
    for start in range(0, len(order), rows):
        batch = order[start : start + rows]
        drawn = generate(
            model,
            [prompts[i] for i in batch],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seeds=[seeds[i] for i in batch],
            stop_ids=[IM_END_ID],
        )
        for i, completion in zip(batch, drawn, strict=True):
            completions[i] = completion
    return [completion for completion in completions if completion is not None]
