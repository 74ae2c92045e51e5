"""Draws from rows of logits, the plain way: a row at a time, by sorting, in float64."""

import torch
from torch import Tensor


def draw(
    logits_RV: Tensor, temperatures_R: Tensor, top_ks_R: Tensor, top_ps_R: Tensor, min_ps_R: Tensor, uniforms_R: Tensor
) -> tuple[Tensor, Tensor]:
    """(tokens (R,) int64, log-probs (R,) float64); arguments as in kernels/device/sampling.py."""
    tokens, logprobs = [], []
    for row, logits in enumerate(logits_RV.double()):
        temperature = float(temperatures_R[row])
        scaled = (logits / (temperature or 1.0)).log_softmax(-1)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            weights, order = scaled.exp().sort(descending=True, stable=True)
            kept = torch.ones_like(order, dtype=torch.bool)
            if 0 < (top_k := int(top_ks_R[row])) < len(order):
                kept[top_k:] = False
            weights = weights * kept
            if (top_p := float(top_ps_R[row])) < 1:
                kept &= weights.cumsum(0) - weights < top_p * weights.sum()
                kept[0] = True
            kept &= weights >= float(min_ps_R[row]) * weights[0]
            allowed = torch.zeros_like(scaled).index_put((order,), weights * kept)
            sums = allowed.cumsum(0)
            last = int(allowed.nonzero().max())
            token = min(int(torch.searchsorted(sums, uniforms_R[row] * sums[-1], right=True)), last)
        tokens.append(token)
        logprobs.append(float(scaled[token]))
    return torch.tensor(tokens), torch.tensor(logprobs, dtype=torch.float64)
