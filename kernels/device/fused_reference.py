"""SwiGLU, residual add with RMSNorm, and RMSNorm of heads with rotary positions, the plain way: torch's own gradient.

What `kernels/device/fused.py` computes in one pass each is defined here. Arithmetic is in float32 (float64 for float64
inputs); results have the dtype of the first input.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """x in the dtype that arithmetic is done in."""
    return x if x.dtype == torch.float64 else x.float()


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, any equal shapes."""
    return (F.silu(wide(gate)) * wide(up)).to(gate.dtype)


def add_rms_norm(x_ND: Tensor, residual_ND: Tensor, weight_D: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """RMSNorm of the sum, and the sum; the norm looks at the sum before it is rounded."""
    summed = wide(x_ND) + wide(residual_ND)
    size = (summed.square().mean(-1, keepdim=True) + eps).rsqrt()
    return (summed * size * wide(weight_D)).to(x_ND.dtype), summed.to(x_ND.dtype)


def norm_rope(x_BTHK: Tensor, weight_K: Tensor, rotary_2TK: Tensor, eps: float) -> Tensor:
    """RMSNorm of each head, then rotary positions: channel i turns with i + K/2 by the cosines and sines (2, T, K)."""
    x = wide(x_BTHK)
    x = x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * wide(weight_K)
    first, second = x.chunk(2, dim=-1)
    cosines, sines = rotary_2TK.to(x.dtype)[:, :, None]
    return (x * cosines + torch.cat([-second, first], dim=-1) * sines).to(x_BTHK.dtype)
