"""The random ±1 projection, the plain way: the whole matrix in numpy, defined as in models/diversity/projection.py."""

import numpy as np
import torch
from torch import Tensor


def signs(seed: int, first: int, last: int, dim: int) -> np.ndarray:
    """Rows first to last - 1 of the matrix, float64: sign (p, c) is bit c mod 64 of SplitMix64 at counter
    p * dim / 64 + c // 64."""
    words = dim // 64
    z = np.arange(first * words + 1, last * words + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(seed % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    bits = (z[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    return (bits.astype(np.float64) * 2 - 1).reshape(last - first, dim)


def project(vectors_BP: Tensor, dim: int, seed: int) -> Tensor:
    """(B, dim) float64."""
    return vectors_BP.double() @ torch.from_numpy(signs(seed, 0, vectors_BP.shape[1], dim)) / dim**0.5
