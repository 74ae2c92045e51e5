"""Makes rollouts: groups of sampled answers with everything that an update needs, recorded as they were drawn.

A rollout holds token ids, the sampler's log-probabilities, the mask, the reward in parts, the version of the policy
that drew it and its seed. Tokens are never decoded and encoded again on the way to the update. Which problems a draw
asks is a function of (seed, draw) alone, so a resumed run asks what an uninterrupted one would have asked.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer
from torch import Tensor

from models.data.tokenizer import IM_END_ID, PAD_ID
from models.evaluation.accuracy import completion_text, problem_prompt
from models.inference.sampler import generate
from models.nets.transformer import Transformer
from models.seeds import derive
from models.tasks.families import Problem
from models.training.rewards import Reward, reward_of

SCHEMA = pa.schema(
    [
        pa.field("policy_version", pa.int64(), metadata={"meaning": "updates the sampling policy had seen"}),
        pa.field("problem_id", pa.string()),
        pa.field("family", pa.string()),
        pa.field("sample", pa.int64(), metadata={"meaning": "index within the problem's group"}),
        pa.field("seed", pa.int64()),
        pa.field("prompt_ids", pa.list_(pa.int64())),
        pa.field("completion_ids", pa.list_(pa.int64())),
        pa.field("logprobs", pa.list_(pa.float64()), metadata={"meaning": "of the sampler, temperature 1, nats"}),
        pa.field("mask", pa.list_(pa.int8()), metadata={"meaning": "1: sampled by the policy, trained on"}),
        pa.field("ended", pa.bool_()),
        pa.field("reward", pa.float64()),
        pa.field("reward_parts", pa.map_(pa.string(), pa.float64())),
        pa.field("advantage", pa.float64()),
        pa.field("text", pa.string(), metadata={"meaning": "the completion, decoded for people"}),
    ]
)


class PolicyDiverged(ArithmeticError):
    """The policy's log-probabilities are NaN or infinite; the last checkpoint is the last good policy."""


@dataclass(frozen=True)
class Rollout:
    """One sampled answer. logprobs and mask run along completion_ids; the end token, when sampled, is the last."""

    problem: Problem
    sample: int
    seed: int
    policy_version: int
    prompt_ids: list[int]
    completion_ids: list[int]
    logprobs: list[float]
    mask: list[int]
    ended: bool
    reward: Reward
    text: str


@dataclass(frozen=True)
class Batch:
    """Rollouts as tensors. A prompt that consecutive rollouts share is written, and computed, once: a row holds the
    prompt (branch 0) and then the answers to it (branches 1, 2, …), R rows of T ids, right-padded.

    The answers' matrices have B rollouts and C columns, the longest answer: targets_BC the sampled ids, sources_BC the
    place of the state that predicts each (an index into the R·T states), old_logprobs_BC the sampler's (float32), and
    mask_BC (float32) 1 on sampled tokens.
    """

    ids_RT: Tensor
    branches_RT: Tensor
    targets_BC: Tensor
    sources_BC: Tensor
    old_logprobs_BC: Tensor
    mask_BC: Tensor


def draw(
    model: Transformer,
    tokenizer: Tokenizer,
    problems: Sequence[Problem],
    *,
    group_size: int,
    max_new_tokens: int,
    reward: str,
    seed: int,
    step: int,
    policy_version: int,
) -> list[Rollout]:
    """group_size answers per problem, at temperature 1 over the whole vocabulary (a cut-off would bias the ratio).

    Rollouts of one problem are consecutive. `step` counts draws from 1 and, with `seed`, decides every coin;
    policy_version is the number of updates that the policy has seen. Raises PolicyDiverged before anything is learnt.
    """
    rows = [(problem, sample) for problem in problems for sample in range(group_size)]
    seeds = [derive(seed, "rollout", step, place, p.problem_id, k) for place, (p, k) in enumerate(rows)]
    prompts = [problem_prompt(problem, tokenizer) for problem, _ in rows]
    completions = generate(
        model, prompts, max_new_tokens=max_new_tokens, temperature=1.0, seeds=seeds, stop_ids=[IM_END_ID]
    )
    if not all(math.isfinite(value) for completion in completions for value in completion.logprobs):
        raise PolicyDiverged(f"draw {step}: a sampled token has a log-probability that is not finite")
    rollouts = []
    for (problem, sample), prompt, completion, row in zip(rows, prompts, completions, seeds, strict=True):
        text = completion_text(completion, tokenizer)
        earned = reward_of(reward, answer=problem.answer, completion=text, ended=completion.finished, seed=row)
        mask = [1] * len(completion.ids)
        rollouts.append(
            Rollout(
                problem=problem,
                sample=sample,
                seed=row,
                policy_version=policy_version,
                prompt_ids=prompt,
                completion_ids=completion.ids,
                logprobs=completion.logprobs,
                mask=mask,
                ended=completion.finished,
                reward=earned,
                text=text,
            )
        )
    return rollouts


def collate(rollouts: Sequence[Rollout], device: torch.device | str = "cpu") -> Batch:
    """Rollouts as one batch. Prompt and padding have mask 0, sampled tokens with their end token mask 1.

    The last token of an answer predicts nothing, so it is a target and no input.
    """
    rows: list[list[int]] = []
    branches: list[list[int]] = []
    sources: list[tuple[int, list[int]]] = []
    before: list[int] = []
    for rollout in rollouts:
        if not rows or rollout.prompt_ids != before:
            rows.append(list(rollout.prompt_ids))
            branches.append([0] * len(rollout.prompt_ids))
            before = rollout.prompt_ids
        start, inputs = len(rows[-1]), rollout.completion_ids[:-1]
        sources.append((len(rows) - 1, [len(before) - 1, *range(start, start + len(inputs))]))
        rows[-1] += inputs
        branches[-1] += [branches[-1][-1] + 1] * len(inputs)
    width, longest = max(map(len, rows)), max(len(rollout.completion_ids) for rollout in rollouts)
    ids_RT = np.full((len(rows), width), PAD_ID, dtype=np.int64)
    branches_RT = np.full((len(rows), width), -1, dtype=np.int64)
    for row, (ids, branch) in enumerate(zip(rows, branches, strict=True)):
        ids_RT[row, : len(ids)], branches_RT[row, : len(ids)] = ids, branch
    targets_BC = np.full((len(rollouts), longest), PAD_ID, dtype=np.int64)
    sources_BC = np.zeros((len(rollouts), longest), dtype=np.int64)
    old_logprobs_BC = np.zeros((len(rollouts), longest), dtype=np.float32)
    mask_BC = np.zeros((len(rollouts), longest), dtype=np.float32)
    for place, (rollout, (row, columns)) in enumerate(zip(rollouts, sources, strict=True)):
        length = len(rollout.completion_ids)
        targets_BC[place, :length] = rollout.completion_ids
        sources_BC[place, :length] = np.array(columns[:length]) + row * width
        old_logprobs_BC[place, :length] = rollout.logprobs
        mask_BC[place, :length] = rollout.mask
    arrays = (ids_RT, branches_RT, targets_BC, sources_BC, old_logprobs_BC, mask_BC)
    return Batch(*(torch.from_numpy(array).to(device) for array in arrays))


def write_record(path: Path, rollouts: Sequence[Rollout], advantages: Sequence[float]) -> None:
    """One draw as a Parquet file (schema: SCHEMA), written whole or not at all."""
    rows = [
        {
            "policy_version": rollout.policy_version,
            "problem_id": rollout.problem.problem_id,
            "family": rollout.problem.family,
            "sample": rollout.sample,
            "seed": rollout.seed,
            "prompt_ids": rollout.prompt_ids,
            "completion_ids": rollout.completion_ids,
            "logprobs": rollout.logprobs,
            "mask": rollout.mask,
            "ended": rollout.ended,
            "reward": rollout.reward.total,
            "reward_parts": list(rollout.reward.parts.items()),
            "advantage": advantage,
            "text": rollout.text,
        }
        for rollout, advantage in zip(rollouts, advantages, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
    os.replace(temporary, path)
