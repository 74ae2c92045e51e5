"""MinHash signatures of texts, byte for byte those of FineWeb: 112 values, to be compared in 14 bands of 8.

The reference is datatrove 0.10.1's MinhashDedupSignature with FineWeb's configuration (sha1, 64 bits, word 5-grams,
seed 1): the text is simplified (lower case, numbers to 0, punctuation to spaces, diacritics gone), cut into English
words, and every 5 consecutive words, joined by spaces, are one shingle; its hash is the first 8 bytes of their sha1,
little-endian. Value j is the least of (h * a_j + b_j mod 2^64) mod (2^61 - 1) over the shingles' hashes h.
"""

from __future__ import annotations

import struct
from functools import cache

import numba
import numpy as np

from kernels.text.bands import BANDS, HASHES, ROWS
from kernels.text.shingles import shingles

SEED = 1
MERSENNE_61 = (1 << 61) - 1


@cache
def parameters() -> tuple[np.ndarray, np.ndarray]:
    """(a, b): uint64 arrays of 112, drawn in datatrove's order."""
    draws = np.random.RandomState(SEED)
    a = draws.randint(1, MERSENNE_61, dtype=np.uint64, size=(1, HASHES))
    b = draws.randint(0, MERSENNE_61, dtype=np.uint64, size=(1, HASHES))
    return a[0], b[0]


def fold_reference(hashes: np.ndarray) -> np.ndarray:
    """The signature of shingle hashes (at least one), plainly: shape (n,) uint64 to (112,) uint64."""
    a, b = parameters()
    return ((hashes[:, None] * a + b) % np.uint64(MERSENNE_61)).min(axis=0)


@numba.njit(cache=True)
def _fold(hashes: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    mersenne, shift = np.uint64((1 << 61) - 1), np.uint64(61)
    least = np.full(a.size, mersenne, np.uint64)
    for h in hashes:
        for j in range(a.size):
            x = h * a[j] + b[j]  # wraps, as the reference does
            x = (x & mersenne) + (x >> shift)  # 2^61 is 1 modulo the prime
            if x >= mersenne:
                x -= mersenne
            if x < least[j]:
                least[j] = x
    return least


def fold(hashes: np.ndarray) -> np.ndarray:
    """As `fold_reference`, in one pass without temporaries."""
    a, b = parameters()
    return _fold(np.ascontiguousarray(hashes, dtype=np.uint64), a, b)


def signature(text: str) -> np.ndarray | None:
    """The 112 uint64 values of a text, or None where it has fewer than 5 words."""
    hashes = shingles(text)
    return fold(hashes) if hashes.size else None


def to_bytes(values: np.ndarray) -> bytes:
    """A signature as 896 bytes: 112 little-endian uint64."""
    return values.astype("<u8").tobytes()


def from_bytes(signatures: list[bytes]) -> np.ndarray:
    """Signatures of `to_bytes` as an array (n, 112) of uint64."""
    return np.frombuffer(b"".join(signatures), dtype="<u8").astype(np.uint64).reshape(-1, HASHES)


def datatrove_records(values: np.ndarray, position: int) -> list[bytes]:
    """The 14 records (68 bytes each) that datatrove writes for the document at that position, one a bucket."""
    return [struct.pack(f"<{ROWS}QI", *band, position) for band in values.reshape(BANDS, ROWS).tolist()]
