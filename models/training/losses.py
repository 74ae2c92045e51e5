"""What a loss function returns, and the cross-entropy of tokens."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """What a loss function returns."""

    value: Tensor  # scalar with gradient
    metrics: dict[str, Tensor | float] = field(default_factory=dict)  # scalars for the curve, detached; means
    tokens: int = 0  # tokens that the step computed, for the throughput figure
    targets: Tensor | int | None = None  # what value and metrics are means over; None: as many on every rank
    totals: dict[str, float] = field(default_factory=dict)  # further scalars for the curve: counts, which add up


def token_loss(logits: Tensor, targets: Tensor, mask: Tensor | None = None, z_loss: float = 0.0) -> Loss:
    """Mean cross-entropy (nats) of targets (B, T) under logits (B, T, V), over the positions where mask is True.

    z_loss adds that multiple of the mean squared log partition function (PaLM, arXiv 2204.02311, section 5).
    """
    partition = logits.logsumexp(-1)
    nll = partition - logits.gather(-1, targets[..., None])[..., 0]
    weight = torch.ones_like(nll) if mask is None else mask.to(nll.dtype)
    total = weight.sum().clamp(min=1)
    cross_entropy = (nll * weight).sum() / total
    value = cross_entropy + z_loss * (partition.square() * weight).sum() / total if z_loss else cross_entropy
    real = None if mask is None else mask.sum()
    return Loss(value, {"nats_per_token": cross_entropy.detach()}, tokens=targets.numel(), targets=real)
