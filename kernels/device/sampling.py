"""A token from each row of logits, each row by settings and a uniform number of its own.

The distribution is that of kernels/decode/draw.py, which draws on the CPU: softmax at the temperature, then top-k, the
nucleus of what it left, min-p, and the token at which the running sum in the order of the vocabulary passes uniform
times the whole; of equally likely tokens, lower ids come first. So equal logits and an equal uniform number (a function
of a request's seed and place alone) give the same token here and there, but where the number falls on the border of
two tokens to a rounding of float32. Triton on CUDA, torch elsewhere; the plain form is sampling_reference.py.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.device.logprobs import Passes, has_triton


class Drawn(NamedTuple):
    """Of each row."""

    tokens: Tensor  # int64; -1 where a logit is no number
    logprobs: Tensor  # float64, natural, of the full softmax at the row's temperature; NaN where there is no token
    peaks: Tensor  # float32, the largest logit
    sums: Tensor  # float64, the log of the sum of exp((logit - largest) / T): any other token's log-probability follows


def draw(
    logits_RV: Tensor,
    temperatures_R: Tensor,
    top_ks_R: Tensor,
    top_ps_R: Tensor,
    min_ps_R: Tensor,
    uniforms_R: Tensor,
    passes: Passes | None = None,
) -> Drawn:
    """logits_RV: float32. Per row: temperature (0: the likeliest token, with its log-probability at temperature 1),
    top_k (int64, 0: off), top_p (1: off), min_p (0: off), uniform in [0, 1), float64."""
    given = logits_RV.contiguous(), temperatures_R, top_ks_R, top_ps_R, min_ps_R, uniforms_R
    if (passes or ("triton" if logits_RV.is_cuda and has_triton() else "torch")) == "triton":
        from kernels.device import sampling_triton

        return Drawn(*sampling_triton.draw(*given))
    return _in_torch(*given)


def _in_torch(
    logits: Tensor, temperatures: Tensor, top_ks: Tensor, top_ps: Tensor, min_ps: Tensor, uniforms: Tensor
) -> Drawn:
    greedy = temperatures == 0
    scales = torch.where(greedy, 1.0, 1.0 / temperatures).float()[:, None]
    peaks = logits.amax(-1)
    weights = ((logits - peaks[:, None]) * scales).exp()
    totals = weights.double().sum(-1)
    ordered, order = weights.sort(dim=-1, descending=True, stable=True)
    ordered = ordered.double()
    ranks = torch.arange(logits.shape[1], device=logits.device)
    kept = (ranks < top_ks[:, None]) | (top_ks <= 0)[:, None]
    ordered = ordered * kept
    whole = ordered.sum(-1, keepdim=True)
    kept &= (ordered.cumsum(-1) - ordered < top_ps[:, None] * whole) | (top_ps >= 1)[:, None] | (ranks == 0)
    kept &= ordered >= min_ps[:, None]
    allowed = torch.zeros_like(ordered).scatter_(-1, order, ordered * kept)
    sums = allowed.cumsum(-1)
    tokens = torch.searchsorted(sums, uniforms[:, None] * sums[:, -1:], right=True)[:, 0]
    last = torch.where(allowed > 0, ranks, -1).amax(-1)
    tokens = torch.minimum(tokens, last)
    likeliest = torch.where(logits == peaks[:, None], ranks, logits.shape[1]).amin(-1)
    broken = ~totals.isfinite()
    tokens = torch.where(greedy, likeliest, tokens).masked_fill(broken, -1)
    chosen = logits.gather(-1, tokens.clamp(0, logits.shape[1] - 1)[:, None])[:, 0].double()
    logprobs = (chosen - peaks.double()) * scales[:, 0].double() - totals.log()
    return Drawn(tokens, logprobs.masked_fill(broken, float("nan")), peaks, totals.log())
