"""Log-probabilities of chosen tokens under a linear head, the plain way: all N x V logits, and torch's own gradient.

What `kernels/device/logprobs.py` computes in pieces is defined here; the tests hold the two equal.
"""

from typing import NamedTuple

import torch
from torch import Tensor

IGNORED = -100  # a target that stands for no token


class TokenStats(NamedTuple):
    """What a loss needs to know of each position, float32 (float64 for float64 inputs), in nats."""

    selected: Tensor  # log p of the targets, their shape (N) or (N, K); 0 where the target is ignored
    lse: Tensor  # (N) log of the partition function, the z of a z-loss
    entropy: Tensor  # (N) of the whole distribution


def capped(logits: Tensor, softcap: float) -> Tensor:
    """softcap * tanh(logits / softcap); 0 switches it off (Gemma 2, arXiv 2408.00118)."""
    return logits if softcap == 0 else softcap * torch.tanh(logits / softcap)


def as_columns(targets: Tensor) -> Tensor:
    """Targets (N) or (N, K) as (N, K)."""
    return targets[:, None] if targets.ndim == 1 else targets


def linear_logprobs(
    hidden_ND: Tensor, weight_VD: Tensor, targets: Tensor, *, ignore_index: int = IGNORED, softcap: float = 0.0
) -> TokenStats:
    """Statistics of softmax(hidden @ weight.T) at integer targets (N) or (N, K), by materialised logits."""
    logits_NV = hidden_ND @ weight_VD.T
    logits_NV = capped(logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float(), softcap)
    lse_N = logits_NV.logsumexp(-1)
    logprobs_NV = logits_NV - lse_N[:, None]
    entropy_N = -(logprobs_NV.exp() * logprobs_NV).sum(-1)
    targets_NK = as_columns(targets)
    real_NK = targets_NK != ignore_index
    selected_NK = logprobs_NV.gather(-1, targets_NK.where(real_NK, 0)) * real_NK
    return TokenStats(selected_NK.view(targets.shape), lse_N, entropy_N)
