"""Makes accuracy on problems with exact answers: the likeliest answer (greedy) and the average over sampled answers.

An answer counts when the model ended it by itself and the verifier accepts it, which is also what the policy is
rewarded for (models/training/rewards.py). Greedy says what the model would answer; the average over k samples at
temperature 1 says how much probability it puts on being right, and moves earlier in training. Both are always reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from models.config import InputError
from models.data.chat import prompt_ids
from models.data.sft import read_columns
from models.data.tokenizer import IM_END_ID
from models.evaluation.intervals import Estimate, bootstrap_mean, wilson
from models.inference.sampler import Completion, generate
from models.nets.transformer import Transformer
from models.seeds import derive
from models.tasks.families import Problem
from models.tasks.verify import verify

TASK_COLUMNS = ("task_id", "family", "level", "question", "answer", "split")


@dataclass(frozen=True)
class Result:
    """What a model did on one problem; lengths in tokens, with the end token."""

    problem: Problem
    text: str  # the greedy answer, decoded
    greedy: float  # 1 if the greedy answer is right, else 0
    sampled: float  # share of the sampled answers that are right
    greedy_tokens: int
    sampled_tokens: float  # mean


def load_tasks(files: Sequence[str | Path], split: str) -> list[Problem]:
    """The problems of one split ("train" or "heldout") of task files, in file order; InputError names a bad file."""
    rows = [row for file in files for row in read_columns(file, TASK_COLUMNS)]
    problems = [
        Problem(row["task_id"], row["family"], row["level"], row["question"], row["answer"])
        for row in rows
        if row["split"] == split
    ]
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


def subset(problems: Sequence[Problem], most: int) -> list[Problem]:
    """At most `most` problems, spread evenly over families and chosen by problem_id: a fixed function of the set."""
    by_family: dict[str, list[Problem]] = {}
    for problem in sorted(problems, key=lambda p: derive(0, "subset", p.problem_id)):
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
    seeds = [derive(seed, "accuracy", p.problem_id, k) for p in problems for k in range(samples)]
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
                completion_text(greedy[i], tokenizer),
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
