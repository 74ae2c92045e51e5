"""The selective scan: h_t = a_t h_{t-1} + u_t for every channel, in log2(T) passes over the whole sequence.

Hillis and Steele 1986 (doubling): after pass k every h_t holds the sum over its last 2^k terms. Nothing is divided and
no logarithm is taken, so a decay of exactly 0 starts a channel anew. `scan_reference` says the same token by token.
"""

from typing import Any

import torch
from torch import Tensor


def scan_reference(a: Tensor, u: Tensor) -> Tensor:
    """h (B, T, …) of decays a and inputs u of that shape, h_{-1} = 0, in T steps."""
    h, found = torch.zeros_like(u[:, 0]), []
    for t in range(u.shape[1]):
        h = a[:, t] * h + u[:, t]
        found.append(h)
    return torch.stack(found, 1)


def scan(a: Tensor, u: Tensor) -> Tensor:
    """What `scan_reference` gives; the backward pass is the same scan from the end (no second derivative)."""
    return _Scan.apply(a, u)  # type: ignore[return-value]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, u: Tensor) -> Tensor:
        h = _doubled(a, u)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor]:
        a, h = ctx.saved_tensors
        later = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], 1)
        of_u = _doubled(later.flip(1), upstream[0].flip(1)).flip(1)
        before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1)
        return of_u * before, of_u


def _doubled(a: Tensor, u: Tensor) -> Tensor:
    a, h, reach = a.clone(), u.clone(), 1
    while reach < u.shape[1]:
        h[:, reach:] += a[:, reach:] * h[:, :-reach]
        a[:, reach:] = a[:, reach:] * a[:, :-reach]
        reach *= 2
    return h
