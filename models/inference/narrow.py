"""Which tokens a draw may take: top-k, nucleus (top-p) and min-p, as masks over weights, beside a plain reference.

Weights are softmax probabilities at the sampling temperature, or any multiple: no rule needs them to sum to one.
Every rule keeps at least one token. Limits may be numbers, or (B, 1) tensors where each row has its own.
Sources: nucleus sampling, Holtzman et al. 2020 (arXiv 1904.09751); min-p, Nguyen et al. 2024 (arXiv 2407.01082).
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def narrow(weights_BV: Tensor, top_k: int = 0, top_p: float | Tensor = 1.0, min_p: float | Tensor = 0.0) -> Tensor:
    """The weights with what may not be drawn set to zero: first top-k, then the nucleus of what it left, then min-p.

    0, 1.0 and 0.0 switch a rule off; with all of them off the very tensor comes back. Which of equal tokens top-k keeps
    is torch's choice.
    """
    if 0 < top_k < weights_BV.shape[-1]:
        kept = torch.zeros_like(weights_BV, dtype=torch.bool)
        kept.scatter_(-1, weights_BV.topk(top_k, dim=-1).indices, True)
        weights_BV = weights_BV.where(kept, 0.0)
    if isinstance(top_p, Tensor) or top_p < 1:
        weights_BV = weights_BV.where(nucleus(weights_BV, top_p), 0.0)
    if isinstance(min_p, Tensor) or min_p > 0:
        weights_BV = weights_BV.where(likely(weights_BV, min_p), 0.0)
    return weights_BV


def nucleus(weights_BV: Tensor, top_p: float | Tensor) -> Tensor:
    """True on the fewest likeliest tokens with at least the share top_p of the weight; of equals, lower ids first."""
    descending_BV, order_BV = weights_BV.sort(dim=-1, descending=True, stable=True)
    sums_BV = prefix_sums(descending_BV)
    before_BV = torch.cat([torch.zeros_like(sums_BV[..., :1]), sums_BV[..., :-1]], dim=-1)  # of all that come first
    inside_BV = before_BV < top_p * sums_BV[..., -1:]
    inside_BV[..., 0] = True
    return torch.zeros_like(inside_BV).scatter_(-1, order_BV, inside_BV)


def likely(weights_BV: Tensor, min_p: float | Tensor) -> Tensor:
    """True on the tokens that weigh at least min_p times the likeliest one's weight."""
    return weights_BV >= min_p * weights_BV.max(dim=-1, keepdim=True).values


def kept_plainly(weights: Sequence[float], top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> set[int]:
    """The reference of `narrow` for one row: the ids that may be drawn, found one by one."""
    by_weight = sorted(range(len(weights)), key=lambda token: (-weights[token], token))
    left = by_weight[:top_k] if top_k else by_weight
    if top_p < 1:
        wanted, held, inside = top_p * sum(weights[token] for token in left), 0.0, []
        for token in left:
            if inside and held >= wanted:
                break
            inside.append(token)
            held += weights[token]
        left = inside
    return {token for token in left if weights[token] >= min_p * weights[left[0]]}


def prefix_sums(weights_BV: Tensor) -> Tensor:
    """Inclusive sums along the vocabulary; on CUDA by doubling, for its cumsum adds in no fixed order."""
    if weights_BV.device.type == "cpu":
        return weights_BV.cumsum(-1)
    sums, reach = weights_BV, 1
    while reach < weights_BV.shape[-1]:
        sums = torch.cat([sums[:, :reach], sums[:, reach:] + sums[:, :-reach]], dim=-1)
        reach *= 2
    return sums
