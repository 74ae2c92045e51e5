"""The pass of kernels/device/minhash.py in Triton: a program for each document and 16 values of its signature.

Arithmetic is int64, which wraps as uint64 does; the only place where the sign matters is the shift, whose copies of it
are masked away. TRITON_INTERPRET=1 must be set before import to run it on a CPU.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

HASHES, VALUES = 32, 16  # of a program's tile
MERSENNE_61 = tl.constexpr((1 << 61) - 1)


@triton.jit
def _signatures(
    hashes_ptr, offsets_ptr, a_ptr, b_ptr, out_ptr, values, HASHES: tl.constexpr, VALUES: tl.constexpr
):  # fmt: skip
    document = tl.program_id(0).to(tl.int64)
    value = tl.program_id(1) * VALUES + tl.arange(0, VALUES)
    own = value < values
    a = tl.load(a_ptr + value, mask=own, other=0)
    b = tl.load(b_ptr + value, mask=own, other=0)
    first, last = tl.load(offsets_ptr + document), tl.load(offsets_ptr + document + 1)
    least = tl.full([HASHES, VALUES], MERSENNE_61, tl.int64)
    for start in range(first, last, HASHES):
        place = start + tl.arange(0, HASHES)
        inside = place < last
        x = tl.load(hashes_ptr + place, mask=inside, other=0)[:, None] * a[None, :] + b[None, :]
        x = (x & MERSENNE_61) + ((x >> 61) & 7)
        x = tl.where(x >= MERSENNE_61, x - MERSENNE_61, x)
        least = tl.minimum(least, tl.where(inside[:, None], x, MERSENNE_61))
    tl.store(out_ptr + document * values + value, tl.min(least, 0), mask=own)


def signatures(hashes: Tensor, offsets: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """See kernels/device/minhash.py; all contiguous."""
    documents, values = len(offsets) - 1, len(a)
    out = torch.empty(documents, values, dtype=torch.int64, device=hashes.device)
    if out.numel():
        programs: Any = _signatures[documents, triton.cdiv(values, VALUES)]
        programs(hashes, offsets, a, b, out, values, HASHES=HASHES, VALUES=VALUES, num_warps=4)
    return out
