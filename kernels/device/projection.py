"""Random ±1 projection of very long vectors, keeping inner products: the signs are made where they are multiplied.

The matrix is that of models/diversity/projection.py, sign for sign: a function of the seed and the place alone. Sums
are cut at places that depend on the length of a vector alone and added in order, so a row's numbers repeat to the bit
and do not depend on its batch; they differ from the CPU's by the rounding of float32. Triton on CUDA, where signs stay
in registers; torch elsewhere, a block of signs at a time. The plain form is kernels/device/projection_reference.py.
"""

import torch
from torch import Tensor

from kernels.device.logprobs import Passes, UnusableShapes, has_triton

BLOCK = 2048  # parameters whose signs are alive at once in the torch form
ROWS = 64  # vectors multiplied together there; fewer are filled up, so that a row's bits never change
GOLDEN, MIX_1, MIX_2 = (word - 2**64 for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def project(vectors_BP: Tensor, dim: int, seed: int, passes: Passes | None = None) -> Tensor:
    """(B, dim) float32, scaled by 1 / sqrt(dim), of vectors in any float dtype up to float32. Raises UnusableShapes."""
    if dim < 64 or dim % 64:
        raise UnusableShapes(f"dim must be a positive multiple of 64, got {dim}")
    if vectors_BP.dim() != 2 or vectors_BP.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise UnusableShapes(f"want rows of at most float32, got {tuple(vectors_BP.shape)} {vectors_BP.dtype}")
    signed = (seed + 2**63) % 2**64 - 2**63
    if (passes or ("triton" if vectors_BP.is_cuda and has_triton() else "torch")) == "triton":
        from kernels.device import projection_triton

        return projection_triton.project(vectors_BP.contiguous(), dim, signed)
    return torch.cat([_in_torch(part, dim, signed) for part in vectors_BP.split(ROWS)])


def signs(seed: int, first: int, last: int, dim: int, device: torch.device) -> Tensor:
    """Rows first to last - 1 of the ±1 matrix, float32; seed as a signed 64-bit number."""
    counter = torch.arange(first * (dim // 64) + 1, last * (dim // 64) + 1, device=device)
    z = seed + counter * GOLDEN  # wraps; shifts of signed numbers copy the sign, which is masked away
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * MIX_1
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * MIX_2
    z = z ^ ((z >> 31) & ((1 << 33) - 1))
    bits = (z[:, None] >> torch.arange(64, device=device)) & 1
    return (2 * bits - 1).float().view(last - first, dim)


def _in_torch(vectors_BP: Tensor, dim: int, seed: int) -> Tensor:
    rows, parameters = vectors_BP.shape
    total = torch.zeros(ROWS, dim, device=vectors_BP.device)
    batch = torch.zeros(ROWS, BLOCK, device=vectors_BP.device)
    for first in range(0, parameters, BLOCK):
        last = min(first + BLOCK, parameters)
        batch[:rows, : last - first] = vectors_BP[:, first:last]
        total += batch[:, : last - first] @ signs(seed, first, last, dim, vectors_BP.device)
    return total[:rows] / dim**0.5
