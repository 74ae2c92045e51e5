"""Attention of one new token a row over pages of keys and values, the plain way: a row at a time in float64."""

import torch
from torch import Tensor


def paged_attention(
    q_RHK: Tensor, keys_PSGK: Tensor, values_PSGK: Tensor, tables_RT: Tensor, lengths_R: Tensor
) -> Tensor:
    """(R, H, K) in float64; arguments as in kernels/device/decode.py."""
    group = q_RHK.shape[1] // keys_PSGK.shape[2]
    made = []
    for q_HK, table, length in zip(q_RHK.double(), tables_RT, lengths_R.tolist(), strict=True):
        keys, values = (
            pool[table.long()].flatten(0, 1)[:length].double().repeat_interleave(group, 1)
            for pool in (keys_PSGK, values_PSGK)
        )
        shares_HT = (torch.einsum("hk,thk->ht", q_HK, keys) * q_HK.shape[-1] ** -0.5).softmax(-1)
        made.append(torch.einsum("ht,thk->hk", shares_HT, values))
    return torch.stack(made)
