"""Makes advantages: what each sampled answer earned beyond the other answers to the same prompt.

All functions take rewards_NG, float, N prompts by G samples, and give an equal-shaped float64 tensor without gradient.
Groups are compared with themselves only. G = 1 is refused: a lone sample has nothing to be compared with, and public
trainers that let it through silently use the raw reward. A group whose rewards are all equal gets exactly 0, tested by
its spread and not by a computed mean, for rounding in the mean would hand constant rewards advantages of either sign.
"""

import torch

# Two rewards of one group that differ by less than this share of their size count as equal (float noise, not signal).
EQUAL_TOLERANCE = 1e-6


class GroupTooSmall(ValueError):
    """A prompt was sampled fewer than two times, so no sample can be compared with another."""


class RewardNotFinite(ValueError):
    """A reward is NaN or infinite; the verifier is wrong, and no update may be made from it."""


def centred(rewards_NG: torch.Tensor) -> torch.Tensor:
    """r − mean of its group. Dr.GRPO (Liu et al. 2025). Its expected gradient is (G−1)/G · ∇J."""
    r_NG = _checked(rewards_NG)
    return _silence_constant_groups(r_NG, r_NG - r_NG.mean(dim=1, keepdim=True))


def leave_one_out(rewards_NG: torch.Tensor) -> torch.Tensor:
    """r − mean of the *other* samples of its group. RLOO (Ahmadian et al. 2024).

    Equal to G/(G−1) · (r − mean of all); its expected gradient is ∇J exactly.
    """
    r_NG = _checked(rewards_NG)
    size = r_NG.shape[1]
    return _silence_constant_groups(r_NG, (r_NG - r_NG.mean(dim=1, keepdim=True)) * (size / (size - 1)))


def standardised(rewards_NG: torch.Tensor) -> torch.Tensor:
    """(r − mean) / std with Bessel's correction. GRPO (Shao et al. 2024) as TRL and verl compute it."""
    r_NG = _checked(rewards_NG)
    spread_N1 = r_NG.std(dim=1, keepdim=True, correction=1)
    safe_N1 = torch.where(spread_N1 > 0, spread_N1, torch.ones_like(spread_N1))
    return _silence_constant_groups(r_NG, (r_NG - r_NG.mean(dim=1, keepdim=True)) / safe_N1)


def mean_relative(rewards_NG: torch.Tensor) -> torch.Tensor:
    """(r − mean) / mean, 0 where the mean is not positive. MaxRL; expected gradient ∇p · (1 − (1−p)^(G−1)) / p."""
    r_NG = _checked(rewards_NG)
    mean_N1 = r_NG.mean(dim=1, keepdim=True)
    safe_N1 = torch.where(mean_N1 > 0, mean_N1, torch.ones_like(mean_N1))
    relative_NG = torch.where(mean_N1 > 0, (r_NG - mean_N1) / safe_N1, torch.zeros_like(r_NG))
    return _silence_constant_groups(r_NG, relative_NG)


def constant_groups(rewards_NG: torch.Tensor) -> torch.Tensor:
    """bool_N: which groups carry no signal because all their rewards are equal up to EQUAL_TOLERANCE of their size."""
    r_NG = rewards_NG.to(torch.float64)
    low_N, high_N = r_NG.amin(dim=1), r_NG.amax(dim=1)
    scale_N = torch.maximum(low_N.abs(), high_N.abs()).clamp_min(1.0)
    return (high_N - low_N) <= EQUAL_TOLERANCE * scale_N


def _checked(rewards_NG: torch.Tensor) -> torch.Tensor:
    if rewards_NG.ndim != 2 or rewards_NG.shape[1] < 2:
        raise GroupTooSmall(f"rewards must be prompts × samples with at least 2 samples, got {tuple(rewards_NG.shape)}")
    r_NG = rewards_NG.detach().to(torch.float64)
    if not bool(torch.isfinite(r_NG).all()):
        raise RewardNotFinite("a reward is NaN or infinite")
    return r_NG


def _silence_constant_groups(rewards_NG: torch.Tensor, advantages_NG: torch.Tensor) -> torch.Tensor:
    silent_N1 = constant_groups(rewards_NG).unsqueeze(1)
    return torch.where(silent_N1, torch.zeros_like(advantages_NG), advantages_NG)
