"""Makes the weight of each sampled token in the loss; the choice decides what answers of different length are worth.

Each function gives weights_BT such that the batch objective is Σ weights · objective. They take the totals of the whole
optimiser step, never of the micro-batch at hand, so that a batch gives one gradient however it is cut up. (A mean over
the tokens of each micro-batch, "BNPO", has no such form: it depends on the cut, and is left out for that reason.)

Two answers, advantage +1 with length 1 and −1 with length 3, ratio 1, Lmax 4: sequence_mean 0, token_mean −.5,
constant −.25.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class BatchTotals:
    """What one optimiser step holds: answers, sampled tokens in them, and the most tokens one answer may have."""

    sequences: int
    tokens: int
    max_tokens: int


def sequence_mean(mask_BT: torch.Tensor, totals: BatchTotals) -> torch.Tensor:
    """Mean over an answer's tokens, then over answers: GRPO. Per token, a long answer counts less."""
    lengths_B1 = mask_BT.sum(dim=1, keepdim=True).clamp_min(1)
    return mask_BT / (lengths_B1 * totals.sequences)


def sequence_sum(mask_BT: torch.Tensor, totals: BatchTotals) -> torch.Tensor:
    """Sum over an answer's tokens, mean over answers: plain REINFORCE and RLOO, the gradient of E[reward] itself."""
    return mask_BT / totals.sequences


def token_mean(mask_BT: torch.Tensor, totals: BatchTotals) -> torch.Tensor:
    """Mean over all tokens of the step: DAPO."""
    return mask_BT / max(totals.tokens, 1)


def constant(mask_BT: torch.Tensor, totals: BatchTotals) -> torch.Tensor:
    """Every token 1 / (answers · Lmax), whatever was sampled: Dr.GRPO. Length carries no hidden price."""
    return mask_BT / (totals.sequences * totals.max_tokens)
