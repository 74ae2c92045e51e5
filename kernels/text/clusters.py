"""Near-duplicate clusters: documents whose shingle sets overlap, each cluster with one survivor, whatever the order.

Candidates share all 8 values of one of the 14 bands of their MinHash signatures; shared bands join documents into
components (union-find). Inside a component documents are taken by their key. Each looks at the survivors of the earlier
documents that it shares a band with, and joins the most similar one if the exact Jaccard similarity of their shingle
sets reaches the threshold; else it survives itself. So every removed document is verified against the very document
that stays: likeness never spreads along a chain, and components of any size are safe.

The threshold 0.75 is what FineWeb says it targets (arXiv 2406.17557, section 3.4), a little above the middle of the
curve of 14 bands of 8, (1/14)^(1/8) = 0.72: a pair becomes a candidate with probability 1 - (1 - s^8)^14, which is .77
at s = .75, .92 at .80 and .99 at .85. Lower, most pairs would be missed; higher, found ones would be thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from kernels.text.minhash import BANDS, ROWS

THRESHOLD = 0.75

ShingleSet = np.ndarray  # sorted distinct uint64


@dataclass(frozen=True)
class Clusters:
    """survivor: (n,) int64, the position of each document's survivor, its own if it survives; similarity: (n,) float64,
    Jaccard of its shingle set with the survivor's, 1.0 for a survivor; size: (n,) int64, documents in its cluster."""

    survivor: np.ndarray
    similarity: np.ndarray
    size: np.ndarray


def band_keys(signatures: np.ndarray) -> np.ndarray:
    """(n, 14) int64: equal numbers in a column are equal bands; -1 where no other document has that band.

    Bands are compared whole (64 bytes), so unlike ones are never joined by a hash. `signatures`: (n, 112) uint64.
    """
    bands = np.ascontiguousarray(signatures, dtype=np.uint64).reshape(-1, BANDS, ROWS)
    keys = np.full(bands.shape[:2], -1, np.int64)
    for band in range(BANDS):
        rows = np.ascontiguousarray(bands[:, band]).view(f"V{ROWS * 8}").ravel()
        _, inverse, count = np.unique(rows, return_inverse=True, return_counts=True)
        shared = count[inverse] > 1
        keys[shared, band] = inverse[shared]
    return keys


def components_reference(keys: np.ndarray) -> np.ndarray:
    """(n,) int64: the first position of each document's component, plainly: sets merged until none shares a band."""
    groups = [{i} for i in range(len(keys))]
    for band in range(keys.shape[1]):
        for key in set(keys[:, band].tolist()) - {-1}:
            members = {i for i in range(len(keys)) if keys[i, band] == key}
            joined = [group for group in groups if group & members]
            groups = [group for group in groups if not group & members] + [set().union(*joined)]
    label = np.empty(len(keys), np.int64)
    for group in groups:
        label[list(group)] = min(group)
    return label


@numba.njit(cache=True)
def _find(parent: np.ndarray, i: Any) -> Any:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True)
def components(keys: np.ndarray) -> np.ndarray:
    """As `components_reference`, by union-find: each document is linked with the first one that has its band."""
    n, bands = keys.shape
    parent = np.arange(n)
    for band in range(bands):
        first = np.full(n + 1, -1, np.int64)
        for i in range(n):
            key = keys[i, band]
            if key < 0:
                continue
            if first[key] < 0:
                first[key] = i
            else:
                a, b = _find(parent, first[key]), _find(parent, i)
                parent[max(a, b)] = min(a, b)
    for i in range(n):
        parent[i] = _find(parent, i)
    return parent


def shingle_set(hashes: np.ndarray) -> ShingleSet:
    """The distinct shingle hashes of a document, sorted. A 64-bit hash stands for its shingle."""
    return np.unique(hashes)


def jaccard_reference(a: ShingleSet, b: ShingleSet) -> float:
    """|a and b| / |a or b|; 0 for two empty sets."""
    left, right = set(a.tolist()), set(b.tolist())
    return len(left & right) / len(left | right) if left | right else 0.0


@numba.njit(cache=True)
def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """As `jaccard_reference`, by merging the two sorted arrays."""
    i = j = common = 0
    while i < a.size and j < b.size:
        if a[i] == b[j]:
            common += 1
            i += 1
            j += 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    union = a.size + b.size - common
    return common / union if union else 0.0


def cluster(
    keys: Sequence[Any],
    signatures: np.ndarray,
    shingle_sets: Callable[[Sequence[int]], Sequence[ShingleSet]],
    threshold: float = THRESHOLD,
) -> Clusters:
    """Clusters n documents.

    keys: n distinct sortable values that do not depend on the documents' order; the least of a cluster survives.
    signatures: (n, 112) uint64. shingle_sets: gives the sets of the documents at some positions; asked for one
    component at a time, and only for documents that have a candidate. threshold: least similarity of a near-duplicate.
    Raises ValueError for equal keys or a threshold out of range.
    """
    n = len(keys)
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold is a similarity above 0 and at most 1, not {threshold}")
    if len(set(keys)) != n:
        raise ValueError("two documents have the same key: the survivor would depend on their order")
    survivor, similarity = np.arange(n), np.ones(n)
    if n:
        bands = band_keys(signatures)
        label = components(bands)
        order = np.argsort(label, kind="stable")
        starts = np.flatnonzero(np.diff(label[order], prepend=-1))
        for members in np.split(order, starts[1:]):
            if len(members) > 1:
                ranked = sorted(members.tolist(), key=lambda i: keys[i])
                _assign(ranked, bands, shingle_sets(ranked), threshold, survivor, similarity)
    return Clusters(survivor, similarity, np.bincount(survivor, minlength=n)[survivor])


def _assign(
    ranked: list[int],
    bands: np.ndarray,
    sets: Sequence[ShingleSet],
    threshold: float,
    survivor: np.ndarray,
    similarity: np.ndarray,
) -> None:
    """Fills in the survivors of one component, whose documents come in the order of their keys."""
    place = {position: i for i, position in enumerate(ranked)}
    survivors_of: dict[Hashable, dict[int, None]] = {}  # (band, key) -> survivors of the documents that have it
    for position in ranked:
        buckets = [(band, key) for band, key in enumerate(bands[position].tolist()) if key >= 0]
        near = {candidate for bucket in buckets for candidate in survivors_of.get(bucket, ())}
        best, best_similarity = position, threshold
        for candidate in sorted(near, key=place.__getitem__):
            a, b = sets[place[position]], sets[place[candidate]]
            if min(len(a), len(b)) < threshold * max(len(a), len(b)):
                continue  # too unlike in size for the overlap to reach the threshold
            found = jaccard(a, b)
            if found > best_similarity or (found >= threshold and best == position):
                best, best_similarity = candidate, found
        if best != position:
            survivor[position], similarity[position] = best, best_similarity
        for bucket in buckets:
            survivors_of.setdefault(bucket, {})[best] = None
