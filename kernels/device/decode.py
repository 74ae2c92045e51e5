"""Attention of one new token a row over pages of keys and values: the inner loop of drawing many texts at once.

A row is one token of one sequence; its keys and values, and its own, already stand in the pages that its table names.
A row's positions are cut into splits at the same places whatever stands beside it, and the splits are put together in
order, so a row's result does not depend on its batch. Triton on CUDA, torch elsewhere; the plain form is
kernels/device/decode_reference.py.
"""

import torch
from torch import Tensor

from kernels.device.fused_reference import wide
from kernels.device.logprobs import Passes, has_triton


def paged_attention(
    q_RHK: Tensor,
    keys_PSGK: Tensor,
    values_PSGK: Tensor,
    tables_RT: Tensor,
    lengths_R: Tensor,
    passes: Passes | None = None,
) -> Tensor:
    """Softmax attention (R, H, K), in the dtype of q, summed in float32 (float64 of float64, in torch).

    q_RHK: queries, H a multiple of the G key heads. keys_PSGK, values_PSGK: P pages of S positions (a power of 2),
    contiguous. tables_RT: page numbers of each row, int32; those behind its length may be anything. lengths_R: int32,
    positions that a row looks at, at least 1.
    """
    if (passes or ("triton" if q_RHK.is_cuda and has_triton() else "torch")) == "triton":
        from kernels.device import decode_triton

        return decode_triton.paged_attention(q_RHK.contiguous(), keys_PSGK, values_PSGK, tables_RT, lengths_R)
    return _in_torch(q_RHK, keys_PSGK, values_PSGK, tables_RT, lengths_R)


def _in_torch(q_RHK: Tensor, keys: Tensor, values: Tensor, tables_RT: Tensor, lengths_R: Tensor) -> Tensor:
    positions = tables_RT.shape[1] * keys.shape[1]
    seen_RT = torch.arange(positions, device=q_RHK.device) < lengths_R[:, None]
    tables_RT = tables_RT.where(seen_RT[:, :: keys.shape[1]], 0).long()
    held = [wide(pool[tables_RT].flatten(1, 2)).transpose(1, 2) for pool in (keys, values)]
    rows, heads, width = q_RHK.shape
    q_RGNK = wide(q_RHK).view(rows, keys.shape[2], heads // keys.shape[2], width)
    scores = (q_RGNK @ held[0].transpose(2, 3)) * width**-0.5
    shares = scores.masked_fill(~seen_RT[:, None, None], float("-inf")).softmax(-1)
    # what stands behind a row's length may be no number, and nothing times that is no number either
    clean = held[1].masked_fill(~seen_RT[:, None, :, None], 0.0)
    return (shares @ clean).view(rows, heads, width).to(q_RHK.dtype)
