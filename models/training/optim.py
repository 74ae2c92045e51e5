"""AdamW with decay groups, and learning rates as functions of the step."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from models.config import InputError


class NonFiniteTraining(ArithmeticError):
    """A loss, a gradient or a change is NaN or infinite; the weights are those of the step before."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step: linear warm-up, then constant-and-cooldown ("wsd") or a cosine.

    WSD: arXiv 2404.06395; a long linear cooldown when the horizon is known.
    """

    peak: float
    steps: int
    warmup_steps: int
    kind: Literal["cosine", "wsd"] = "wsd"
    cooldown_fraction: float = 0.5  # wsd: share of the steps in the linear cooldown
    final_fraction: float = 0.05  # of the peak, reached at the last step

    def __post_init__(self) -> None:
        if self.kind not in ("cosine", "wsd"):
            raise InputError(f"schedule must be cosine or wsd, got {self.kind!r}")
        if self.steps < 1 or not 0 <= self.warmup_steps <= self.steps:
            raise InputError(f"need 0 <= warmup_steps <= steps and steps >= 1: {self.warmup_steps}, {self.steps}")

    def rate(self, step: int) -> float:
        """Learning rate of the 0-based `step`."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        if self.kind == "cosine":
            progress = (step + 1 - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
            share = 0.5 * (1 + math.cos(math.pi * progress))
        else:
            share = min(1.0, (self.steps - step - 1) / max(1.0, self.cooldown_fraction * self.steps))
        return self.peak * (self.final_fraction + (1 - self.final_fraction) * share)


def adamw(
    model: nn.Module, *, weight_decay: float, beta1: float = 0.9, beta2: float = 0.95, eps: float = 1e-8
) -> torch.optim.AdamW:
    """AdamW with two groups: matrices decay; norms and the embedding (with a head tied to it) do not (OLMo 2).

    The learning rate is set before every step by the training loop.
    """
    decayed, kept = [], []
    for name, parameter in model.named_parameters():
        (kept if parameter.ndim < 2 or name.startswith("embedding") else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0, betas=(beta1, beta2), eps=eps)
