"""The pass of kernels/device/projection.py in Triton: a word of 64 signs a parameter, made in registers and multiplied.

A program holds 64 vectors (so each word is made once for all of them), one word's 64 columns and a part of the
parameters; the second kernel adds the parts in order. ±1 is exact in TF32, so are values of half precision; float32 is
split into two of them, which loses less than its sums round. TRITON_INTERPRET=1 must be set before import to run it on
a CPU.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.device import projection as rule

ROWS, PARAMETERS = 64, 32  # of a tile
PARTS = 256  # programs at most along the parameters
FLAT = 1024
GOLDEN, MIX_1, MIX_2 = tl.constexpr(rule.GOLDEN), tl.constexpr(rule.MIX_1), tl.constexpr(rule.MIX_2)
LOW_33, LOW_34, LOW_37 = (tl.constexpr((1 << bits) - 1) for bits in (33, 34, 37))


@triton.jit
def _project(
    vectors_ptr, partial_ptr, seed, rows, parameters, span, SPLIT: tl.constexpr, ROWS: tl.constexpr,
    PARAMETERS: tl.constexpr,
):  # fmt: skip
    word, part, words = tl.program_id(0), tl.program_id(1), tl.num_programs(0)
    row = tl.program_id(2) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    bit = tl.arange(0, 64)
    first = part.to(tl.int64) * span
    last = tl.minimum(first + span, parameters)
    total = tl.zeros([ROWS, 64], tl.float32)
    for start in range(first, last, PARAMETERS):
        place = start + tl.arange(0, PARAMETERS).to(tl.int64)
        inside = (row < rows)[:, None] & (place < last)[None, :]
        x = tl.load(vectors_ptr + row[:, None] * parameters + place[None, :], mask=inside, other=0.0).to(tl.float32)
        z = (place * words + word + 1) * GOLDEN + seed
        z = (z ^ ((z >> 30) & LOW_34)) * MIX_1
        z = (z ^ ((z >> 27) & LOW_37)) * MIX_2
        z = z ^ ((z >> 31) & LOW_33)
        sign = (((z[:, None] >> bit[None, :]) & 1) * 2 - 1).to(tl.float32)
        if SPLIT:
            high = (x.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)  # 10 bits behind the point
            total = tl.dot(x - high, sign, total, input_precision="tf32")
            x = high
        total = tl.dot(x, sign, total, input_precision="tf32")
    column = word * 64 + bit
    out = (part * rows + row[:, None]) * (words * 64) + column[None, :]
    tl.store(partial_ptr + out, total, mask=(row < rows)[:, None])


@triton.jit
def _add_parts(partial_ptr, out_ptr, size, parts, scale, FLAT: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * FLAT + tl.arange(0, FLAT)
    total = tl.zeros([FLAT], tl.float32)
    for part in range(0, parts):
        total += tl.load(partial_ptr + part * size + place, mask=place < size, other=0.0)
    tl.store(out_ptr + place, total * scale, mask=place < size)


def project(vectors: Tensor, dim: int, seed: int) -> Tensor:
    """See kernels/device/projection.py; contiguous, and the seed as a signed 64-bit number."""
    rows, parameters = vectors.shape
    span = PARAMETERS * max(1, -(-parameters // (PARAMETERS * PARTS)))
    parts = max(1, -(-parameters // span))
    partial = torch.empty(parts, rows, dim, device=vectors.device)
    out = torch.empty(rows, dim, device=vectors.device)
    if rows:
        programs: Any = _project[dim // 64, parts, -(-rows // ROWS)]
        programs(
            vectors, partial, seed, rows, parameters, span, SPLIT=vectors.dtype == torch.float32, ROWS=ROWS,
            PARAMETERS=PARAMETERS, num_warps=4,
        )  # fmt: skip
        programs = _add_parts[(-(-out.numel() // FLAT),)]
        programs(partial, out, out.numel(), parts, dim**-0.5, FLAT=FLAT, num_warps=4)
    return out
