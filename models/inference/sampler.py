"""Batched sampling from a Transformer: KV-cached, with a seed of its own for every row.

A row's randomness is a function of (its seed, its position) alone, never of the batch it ran in, so any rollout can be
drawn again by itself. Logits of one row differ between batch shapes by float rounding (about 1e-6), so a draw can
differ only when its uniform number falls that close to a boundary between two tokens.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.config import InputError
from models.inference.narrow import narrow, prefix_sums
from models.nets.transformer import KVCache, Transformer
from models.seeds import uniforms


@dataclass(frozen=True)
class Completion:
    """What one row produced after its prompt."""

    ids: list[int]  # sampled tokens; the last one is the stop token when `finished`
    logprobs: list[float]  # natural log-probability of each sampled token, full softmax at the sampling temperature
    finished: bool  # True: ended by a stop token; False: cut at max_new_tokens or the model's max_seq_len


def pick(
    logits_BV: Tensor, uniform_B: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> tuple[Tensor, Tensor]:
    """One token per row and its log-probability: ((B,) int64, (B,) float64).

    Inverse-CDF sampling in vocabulary order, in float64. top_k > 0, top_p < 1 and min_p > 0 restrict the draw as
    models/inference/narrow.py says; the log-probability is that of the full softmax all the same. temperature 0 takes
    the likeliest token, with its log-probability at temperature 1.
    """
    logprobs_BV = (logits_BV.double() / (temperature or 1.0)).log_softmax(-1)
    if temperature == 0:
        tokens_B = logprobs_BV.argmax(-1)
    else:
        weights_BV = narrow(logprobs_BV.exp(), top_k, top_p, min_p)
        cumulative_BV = prefix_sums(weights_BV)
        threshold_B1 = uniform_B[:, None] * cumulative_BV[:, -1:]
        tokens_B = torch.searchsorted(cumulative_BV, threshold_B1, right=True)[:, 0]
        # a threshold that rounds up to the whole sum takes the last token that may be drawn; NaN stays in bounds
        last_B = torch.searchsorted(cumulative_BV, cumulative_BV[:, -1:].contiguous())[:, 0]
        tokens_B = torch.minimum(tokens_B, last_B).clamp(max=logits_BV.shape[-1] - 1)
    return tokens_B, logprobs_BV.gather(-1, tokens_B[:, None])[:, 0]


@torch.inference_mode()
def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    seeds: Sequence[int],
    stop_ids: Collection[int],
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> list[Completion]:
    """Sample one completion per prompt, all in one batch; the order of the prompts is kept.

    prompts: non-empty token lists, shorter than the model's max_seq_len. seeds: one per prompt. Equal prompts
    (the rollouts of a group) are read once. Rows that finish leave the batch once half of it is done, so long
    rows do not pay for short ones. InputError on prompts, seeds or a temperature that cannot be used.
    """
    _check(model, prompts, seeds)
    check_settings(max_new_tokens, temperature, top_k, top_p, min_p)
    if not prompts or max_new_tokens == 0:
        return [Completion([], [], False) for _ in prompts]
    device = model.embedding.weight.device
    rows, longest = len(prompts), max(len(prompt) for prompt in prompts)
    lengths = np.array([len(prompt) for prompt in prompts])
    limits = np.minimum(max_new_tokens, model.config.max_seq_len - lengths)
    steps = int(limits.max())
    distinct = {tuple(prompt): place for place, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
    places_B = torch.tensor([distinct[tuple(prompt)] for prompt in prompts], device=device)
    padded = np.zeros((len(distinct), longest), dtype=np.int64)
    for place, prompt in enumerate(distinct):
        padded[place, longest - len(prompt) :] = prompt
    starts_B = torch.tensor([longest - len(prompt) for prompt in distinct], device=device)
    cache = KVCache(model.config, starts_B, longest + steps, model.embedding.weight.dtype)
    uniforms_BT = torch.from_numpy(uniforms(seeds, steps)).to(device)
    tokens = np.zeros((rows, steps), dtype=np.int64)
    logprobs = np.zeros((rows, steps))
    produced = np.zeros(rows, dtype=np.int64)
    finished = np.zeros(rows, dtype=bool)
    stops = np.array(sorted(stop_ids), dtype=np.int64)
    alive = np.arange(rows)  # the rows that are still in the batch
    inputs = torch.from_numpy(padded).to(device)
    for step in range(steps):
        hidden_BD = model.hidden(inputs, cache=cache)[:, -1]
        if step == 0 and len(distinct) < rows:  # a prompt that several rows share is read once
            hidden_BD = hidden_BD[places_B]
            cache.keep(places_B)
        picked_B, logprob_B = pick(model.logits(hidden_BD), uniforms_BT[alive, step], temperature, top_k, top_p, min_p)
        picked, logprob = picked_B.cpu().numpy(), logprob_B.cpu().numpy()
        active = ~finished[alive] & (limits[alive] > step)
        going = alive[active]
        tokens[going, step], logprobs[going, step] = picked[active], logprob[active]
        produced[going] = step + 1
        finished[going] = np.isin(picked[active], stops)
        still = ~finished[alive] & (limits[alive] > step + 1)
        if not still.any():
            break
        if 2 * still.sum() <= len(alive):
            keep = torch.from_numpy(np.flatnonzero(still)).to(device)
            cache.keep(keep)
            picked_B, alive = picked_B[keep], alive[still]
        inputs = picked_B[:, None]
    return [
        Completion(tokens[row, :n].tolist(), logprobs[row, :n].tolist(), bool(finished[row]))
        for row, n in enumerate(produced)
    ]


def check_settings(max_new_tokens: int, temperature: float, top_k: int, top_p: float, min_p: float) -> None:
    """Raises InputError, naming the control that cannot be used and its range."""
    if max_new_tokens < 0 or top_k < 0:
        raise InputError("max_new_tokens and top_k must not be negative")
    if not 0 <= temperature < math.inf:
        raise InputError(f"temperature must be 0 or more and finite, not {temperature}")
    if not 0 < top_p <= 1:
        raise InputError(f"top_p must be above 0 and at most 1, not {top_p}")
    if not 0 <= min_p <= 1:
        raise InputError(f"min_p must be between 0 and 1, not {min_p}")


def _check(model: Transformer, prompts: Sequence[Sequence[int]], seeds: Sequence[int]) -> None:
    if len(seeds) != len(prompts):
        raise InputError(f"{len(prompts)} prompts need as many seeds, got {len(seeds)}")
    for row, prompt in enumerate(prompts):
        if not 0 < len(prompt) < model.config.max_seq_len:
            limit = model.config.max_seq_len
            raise InputError(f"prompt {row} has {len(prompt)} tokens; it must have 1 to {limit - 1}")
