"""Candidates at scale: documents that share a band of their MinHash signatures, joined one band at a time.

A band of 8 values is told by a 64-bit hash of them, so a document costs 8 bytes a band wherever the hashes lie, and one
band is in memory at a time. Two unlike bands get the same hash with a chance of 2^-64: over n documents that is about
7 n^2 / 2^64 wrong joins, 1.5e-6 of one for 2 million documents and .4 for a thousand million. A wrong join makes a
component larger and removes nothing: whether a document goes is decided by exact similarity (kernels.text.verify).

Joining is sorting: the upper bits of the hash and the document's position lie in one 64-bit number, so that a plain
sort of numbers brings equal bands together in the order of positions, and each is linked with the first of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numba
import numpy as np

from kernels.text.bands import BANDS, HASHES, NO_BAND, ROWS

_FACTOR_1, _FACTOR_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # splitmix64 (Steele et al. 2014)
_SEED = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(cache=True)
def _mix(x: Any) -> Any:
    x = (x ^ (x >> np.uint64(30))) * _FACTOR_1
    x = (x ^ (x >> np.uint64(27))) * _FACTOR_2
    return x ^ (x >> np.uint64(31))


@numba.njit(cache=True)
def _band_hashes(signatures: np.ndarray, hashes: np.ndarray) -> None:
    for i in range(signatures.shape[0]):
        for band in range(BANDS):
            state = _SEED
            for row in range(ROWS):
                state = _mix(state + signatures[i, band * ROWS + row] + _SEED)
            hashes[band, i] = state if state != NO_BAND else _SEED


def band_hashes(signatures: np.ndarray) -> np.ndarray:
    """(14, n) uint64 hashes of the bands of signatures (n, 112) uint64; never NO_BAND."""
    if signatures.ndim != 2 or signatures.shape[1] != HASHES:
        raise ValueError(f"signatures have the shape (n, {HASHES}), not {signatures.shape}")
    hashes = np.empty((BANDS, len(signatures)), np.uint64)
    _band_hashes(np.ascontiguousarray(signatures, dtype=np.uint64), hashes)
    return hashes


@numba.njit(cache=True)
def find(parent: np.ndarray, i: Any) -> Any:
    """The root of i, its path halved on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True)
def join(parent: np.ndarray, i: Any, j: Any) -> None:
    """Links the components of i and j; the lesser root becomes the root of both."""
    a, b = find(parent, i), find(parent, j)
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


@numba.njit(cache=True)
def _packed(hashes: np.ndarray, position_bits: Any) -> np.ndarray:
    packed, n = np.empty(hashes.size, np.uint64), 0
    for i in range(hashes.size):
        if hashes[i] != NO_BAND:
            packed[n] = (hashes[i] >> position_bits << position_bits) | np.uint64(i)
            n += 1
    return packed[:n]


@numba.njit(cache=True)
def _link_sorted(parent: np.ndarray, packed: np.ndarray, hashes: np.ndarray, position_bits: Any) -> None:
    mask = (np.uint64(1) << position_bits) - np.uint64(1)
    start = 0
    while start < packed.size:
        upper = packed[start] >> position_bits
        end, alike = start + 1, True
        first = np.int64(packed[start] & mask)
        while end < packed.size and packed[end] >> position_bits == upper:
            alike = alike and hashes[np.int64(packed[end] & mask)] == hashes[first]
            end += 1
        if end - start > 1:
            if alike:
                for k in range(start + 1, end):
                    join(parent, first, np.int64(packed[k] & mask))
            else:  # unlike bands whose hashes begin alike: told apart by the whole hash
                run = (packed[start:end] & mask).astype(np.int64)
                whole = hashes[run]
                order = np.argsort(whole, kind="mergesort")
                for k in range(1, run.size):
                    if whole[order[k]] == whole[order[k - 1]]:
                        join(parent, run[order[k - 1]], run[order[k]])
        start = end


def alone(n: int) -> np.ndarray:
    """(n,) parents of documents of which none is joined yet: 4 bytes each below 2^31 of them, else 8."""
    return np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)


def link(parent: np.ndarray, hashes: np.ndarray) -> None:
    """Joins documents with equal hashes of one band. parent: (n,), changed; hashes: (n,) uint64, NO_BAND takes no part.

    Works in 16 bytes a document: the hashes, and their upper bits with the positions.
    """
    bits = np.uint64(max(int(parent.size - 1).bit_length(), 1))
    packed = _packed(hashes, bits)
    packed.sort()
    _link_sorted(parent, packed, hashes, bits)


@numba.njit(cache=True)
def link_pairs(parent: np.ndarray, group: np.ndarray, document: np.ndarray) -> None:
    """Joins documents of one group, for (m,) int64 pairs of a group and a document of it; groups lie together."""
    for k in range(1, group.size):
        if group[k] == group[k - 1]:
            join(parent, document[k - 1], document[k])


@numba.njit(cache=True)
def _flatten(parent: np.ndarray) -> None:
    for i in range(parent.size):
        parent[i] = parent[parent[i]]  # a parent comes before its child, so it points at its root already


def roots(parent: np.ndarray) -> np.ndarray:
    """(n,) the least position of each document's component, when all are joined; changes `parent`, and returns it."""
    _flatten(parent)
    return parent


def components(n: int, bands: Iterable[np.ndarray]) -> np.ndarray:
    """(n,) the least position of each document's component, from the (n,) hashes of each band in turn.

    Components are what the MinHash stages of datatrove cluster by, without verification: documents that a chain of
    equal bands connects. They do not depend on the order of the bands.
    """
    parent = alone(n)
    for hashes in bands:
        if hashes.shape != (n,):
            raise ValueError(f"a band has {hashes.shape} hashes for {n} documents")
        link(parent, hashes)
    return roots(parent)


def partition(signatures: np.ndarray) -> np.ndarray:
    """(n,) the least position of each document's component, for signatures (n, 112) in memory.

    This is the partition that datatrove's MinhashDedupBuckets and MinhashDedupCluster make of the same signatures:
    a class here is a cluster there, a class of one document is one that it does not name.
    """
    return components(len(signatures), band_hashes(signatures))
