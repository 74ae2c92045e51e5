"""Makes the importance ratio between the policy being trained and the one that sampled, and its clipped surrogate.

Shapes: B sequences, T positions; mask_BT is 1 where the policy sampled the token (its end token included), else 0.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Surrogate:
    """objective_BT: min(ρA, clip(ρ)A), to be maximised. clipped_BT: where the clip took the gradient away (bool)."""

    objective_BT: torch.Tensor
    clipped_BT: torch.Tensor


def token_log_ratio(logprobs_BT: torch.Tensor, old_logprobs_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """log π/π_old of each token (GRPO, DAPO, Dr.GRPO); exactly 0 outside the mask, whatever stands there."""
    return torch.where(mask_BT.bool(), logprobs_BT - old_logprobs_BT, torch.zeros_like(logprobs_BT))


def sequence_log_ratio(logprobs_BT: torch.Tensor, old_logprobs_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Length-normalised log ratio of the whole answer, the same at each of its tokens. GSPO (Zheng et al. 2025), eq. 7.

    exp of it is (π(o)/π_old(o))^(1/|o|): token log ratios (.1, .3) give e^.2 = 1.221403.
    """
    log_ratio_BT = token_log_ratio(logprobs_BT, old_logprobs_BT, mask_BT)
    lengths_B1 = mask_BT.sum(dim=1, keepdim=True).clamp_min(1)
    return (log_ratio_BT.sum(dim=1, keepdim=True) / lengths_B1).expand_as(log_ratio_BT) * mask_BT


def clipped_surrogate(
    log_ratio_BT: torch.Tensor, advantages_B: torch.Tensor, mask_BT: torch.Tensor, *, low: float, high: float
) -> Surrogate:
    """PPO's pessimistic objective min(ρA, clip(ρ, 1−low, 1+high)A), 0 outside the mask (Schulman et al. 2017, eq. 7).

    low = high is the symmetric clip; DAPO's clip-higher takes .2 / .28.
    """
    ratio_BT = log_ratio_BT.exp()
    advantages_B1 = advantages_B.to(ratio_BT.dtype).unsqueeze(1)
    free_BT = ratio_BT * advantages_B1
    bound_BT = ratio_BT.clamp(1 - low, 1 + high) * advantages_B1
    live_BT = mask_BT.bool()
    objective_BT = torch.where(live_BT, torch.minimum(free_BT, bound_BT), torch.zeros_like(free_BT))
    return Surrogate(objective_BT, live_BT & (bound_BT < free_BT))
