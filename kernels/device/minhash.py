"""MinHash signatures of many documents at once, bit for bit those of kernels/text/minhash.py, which is the reference.

Value j of a document is the least of (h * a_j + b_j mod 2^64) mod (2^61 - 1) over its shingles' hashes h. All values
stay below 2^61 - 1, so that number stands for a document without a shingle, as in the CPU's fold. uint64 lies in int64
tensors with the same bits. Triton on CUDA, torch elsewhere.
"""

import torch
from torch import Tensor

from kernels.device.logprobs import Passes, UnusableShapes, has_triton

MERSENNE_61 = (1 << 61) - 1
CHUNK_BYTES = {"cuda": 256 << 20, "cpu": 1 << 20}  # of values that are alive at once in the torch form


def signatures(hashes_S: Tensor, offsets: Tensor, a_P: Tensor, b_P: Tensor, passes: Passes | None = None) -> Tensor:
    """(D, P) int64 of D documents; hashes offsets[d] to offsets[d + 1] are those of document d.

    hashes_S, a_P, b_P: the bits of uint64 as int64 (numpy's `.view(np.int64)`). offsets: int64, D + 1, from 0 to S
    without descent. Raises UnusableShapes.
    """
    if any(one.dtype != torch.int64 or one.dim() != 1 for one in (hashes_S, offsets, a_P, b_P)) or not len(offsets):
        raise UnusableShapes("hashes, offsets (one more than documents) and parameters are int64 tensors of one axis")
    if a_P.shape != b_P.shape:
        raise UnusableShapes(f"{len(a_P)} factors and {len(b_P)} summands are not one a value")
    given = hashes_S.contiguous(), offsets.contiguous(), a_P.contiguous(), b_P.contiguous()
    if (passes or ("triton" if hashes_S.is_cuda and has_triton() else "torch")) == "triton":
        from kernels.device import minhash_triton

        return minhash_triton.signatures(*given)
    return _in_torch(*given)


def _in_torch(hashes_S: Tensor, offsets: Tensor, a_P: Tensor, b_P: Tensor) -> Tensor:
    documents, values = len(offsets) - 1, len(a_P)
    least = hashes_S.new_full((documents, values), MERSENNE_61)
    document_S = torch.arange(documents, device=offsets.device).repeat_interleave(offsets.diff())
    chunk = max(1, CHUNK_BYTES.get(hashes_S.device.type, 1 << 20) // (8 * max(values, 1)))
    for hashes, document in zip(hashes_S.split(chunk), document_S.split(chunk), strict=True):
        x = hashes[:, None] * a_P + b_P  # wraps
        x = (x & MERSENNE_61) + (
            (x >> 61) & 7
        )  # 2^61 is 1 modulo the prime; the shift of a signed number copies its sign
        x = torch.where(x >= MERSENNE_61, x - MERSENNE_61, x)
        least.scatter_reduce_(0, document[:, None].expand_as(x), x, "amin")
    return least
