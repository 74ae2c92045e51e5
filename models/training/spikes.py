"""Which updates are left out because their loss or gradient leaps out of the last ones'.

A skipped step leaves weights and moments as they were; the schedule goes on. NaN and infinity are no business of this
rule: they stop the run before it is asked (models/training/loop.py) and never enter its window.
Source: OLMo's SkipStepOptimizer (arXiv 2501.00656), 6 standard deviations over 128 steps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SpikeRule:
    """When a step is a spike."""

    window: int = 128  # steps that it is compared with
    sigmas: float = 6.0  # standard deviations above their mean, of the loss or of the gradient's norm
    least: int = 32  # steps seen before the rule judges


class SpikeWatch:
    """The last losses and gradient norms, float64; its `tensor` is all of its state."""

    def __init__(self, rule: SpikeRule, tensor: Tensor | None = None) -> None:
        self.rule = rule
        # row 0: steps seen and steps skipped; then a ring of (loss, norm)
        self.tensor = torch.zeros(rule.window + 1, 2, dtype=torch.float64) if tensor is None else tensor.clone()

    @property
    def skipped(self) -> int:
        """Steps left out so far."""
        return int(self.tensor[0, 1])

    def is_spike(self, loss: float, norm: float) -> bool:
        """Whether a step of this loss and norm (finite) is to be left out; notes it either way.

        A spike enters the window as the limit that it broke: it hides no later one, and a lasting change of level
        widens the limits step by step until it is followed.
        """
        seen, ring = int(self.tensor[0, 0]), self.tensor[1:]
        values = torch.tensor([loss, norm], dtype=torch.float64)
        filled = ring[: min(seen, self.rule.window)]
        spike = False
        if seen >= self.rule.least:
            limit = filled.mean(0) + self.rule.sigmas * filled.std(0)
            spike = bool((values > limit).any())
            values = values.minimum(limit)
        ring[seen % self.rule.window] = values
        self.tensor[0] += torch.tensor([1.0, float(spike)], dtype=torch.float64)
        return spike
