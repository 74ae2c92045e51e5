"""Random ±1 projection of very long vectors to a few hundred numbers, keeping inner products (Johnson–Lindenstrauss).

The sign matrix (parameters × dim) never exists: a block of rows is made when it is needed, from a counter. Sign (p,
c) is bit c mod 64 of splitmix64 at counter p · dim/64 + c // 64, so it depends on the seed and its place alone, not
on blocks, batches or shards. Projected inner products are unbiased with standard deviation √((1 + c² - 2Σx²y²)/dim)
for unit vectors of cosine c. Scaled by 1/√dim; columns are independent, so any subset of them is a smaller
projection up to the scale.
"""

import numba
import numpy as np
import torch

from models.seeds import GOLDEN, WORD, mix

PARAMETER_BLOCK = 2048  # rows of signs made at a time: with 512 columns 4 MB, which stays in cache
ROWS_PER_BATCH = 64  # vectors multiplied together; shorter batches are padded so that a row's bits never change

_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def reference_signs(seed: int, first: int, last: int, dim: int) -> np.ndarray:
    """Rows first..last-1 of the ±1 matrix, float32 (last - first, dim): the plain definition of `signs`."""
    words = dim // 64
    with np.errstate(over="ignore"):
        counters = np.arange(first * words, last * words, dtype=np.uint64)
        z = np.uint64(seed & WORD) + (counters + np.uint64(1)) * GOLDEN
        z = mix(z)
    bits = (z[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    return np.where(bits == 1, np.float32(1), np.float32(-1)).reshape(last - first, dim)


@numba.njit(cache=True, nogil=True)
def _fill(out_bits, seed, first, words):
    for row in range(out_bits.shape[0]):
        for word in range(words):
            counter = np.uint64((first + row) * words + word + 1)
            z = seed + counter * GOLDEN
            z = (z ^ (z >> np.uint64(30))) * _MIX_1
            z = (z ^ (z >> np.uint64(27))) * _MIX_2
            z = z ^ (z >> np.uint64(31))
            low, high = np.uint32(z & np.uint64(0xFFFFFFFF)), np.uint32(z >> np.uint64(32))
            for bit in range(32):
                flip = np.uint32(np.uint32(low >> np.uint32(bit)) & np.uint32(1)) ^ np.uint32(1)
                out_bits[row, word * 64 + bit] = np.uint32(0x3F800000) | np.uint32(flip << np.uint32(31))
            for bit in range(32):
                flip = np.uint32(np.uint32(high >> np.uint32(bit)) & np.uint32(1)) ^ np.uint32(1)
                out_bits[row, word * 64 + 32 + bit] = np.uint32(0x3F800000) | np.uint32(flip << np.uint32(31))


def signs(seed: int, first: int, last: int, dim: int) -> np.ndarray:
    """Rows first..last-1 of the ±1 matrix, float32 (last - first, dim)."""
    block = np.empty((last - first, dim), dtype=np.float32)
    _fill(block.view(np.uint32), np.uint64(seed & WORD), first, dim // 64)
    return block


def project(vectors_bp: np.ndarray, dim: int, seed: int) -> np.ndarray:
    """Vectors (b, parameters) float32 → (b, dim) float32, b ≤ ROWS_PER_BATCH; each row's bits are its own.

    Sums run over blocks of PARAMETER_BLOCK in a fixed order. Raises ValueError for a dim that is no multiple of 64.
    """
    if dim < 64 or dim % 64:
        raise ValueError(f"dim must be a positive multiple of 64, got {dim}")
    if vectors_bp.ndim != 2 or len(vectors_bp) > ROWS_PER_BATCH or vectors_bp.dtype != np.float32:
        raise ValueError(f"want at most {ROWS_PER_BATCH} float32 rows, got {vectors_bp.shape} {vectors_bp.dtype}")
    n_rows, n_parameters = vectors_bp.shape
    batch = np.zeros((ROWS_PER_BATCH, PARAMETER_BLOCK), dtype=np.float32)
    total = torch.zeros((ROWS_PER_BATCH, dim))
    for first in range(0, n_parameters, PARAMETER_BLOCK):
        last = min(first + PARAMETER_BLOCK, n_parameters)
        batch[:n_rows, : last - first] = vectors_bp[:, first:last]
        block = torch.from_numpy(signs(seed, first, last, dim))
        total += torch.mm(torch.from_numpy(batch[:, : last - first]), block)
    return total[:n_rows].numpy() / np.float32(np.sqrt(dim))
