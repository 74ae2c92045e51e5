"""Makes estimates of how far one policy has moved from another, in nats."""

import torch


def k1(logprobs: torch.Tensor, reference_logprobs: torch.Tensor) -> torch.Tensor:
    """log π − log π_ref of tokens sampled from π: unbiased for KL(π‖π_ref), of either sign. Any shape, kept."""
    return logprobs - reference_logprobs


def k3(logprobs: torch.Tensor, reference_logprobs: torch.Tensor) -> torch.Tensor:
    """π_ref/π − log(π_ref/π) − 1: unbiased for KL(π‖π_ref) and never negative (Schulman 2020). Any shape, kept.

    log(π_ref/π) = .5 gives .148721, −.5 gives .106531.
    """
    gap = reference_logprobs - logprobs
    return torch.expm1(gap) - gap


def exact(logprobs_V: torch.Tensor, reference_logprobs_V: torch.Tensor) -> torch.Tensor:
    """KL(π‖π_ref) of categorical policies over the last axis, from normalised log-probabilities."""
    return (logprobs_V.exp() * (logprobs_V - reference_logprobs_V)).sum(dim=-1)


def optimum(reference_logprobs_V: torch.Tensor, rewards_V: torch.Tensor, beta: float) -> torch.Tensor:
    """Log-probabilities of the policy that maximises E[r] − β·KL(π‖π_ref): π* ∝ π_ref · e^(r/β)."""
    return torch.log_softmax(reference_logprobs_V + rewards_V / beta, dim=-1)
