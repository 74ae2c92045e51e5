"""Verified duplicates: which candidates join an earlier document, decided by exact similarity, in bounded work.

Documents are taken in the order of survival. Each looks at the survivors of the earlier documents that it shares a band
with, and joins the most similar one if the Jaccard similarity of their shingle sets reaches the threshold; else it
survives itself. So every removed document is verified against the very document that stays, and likeness never
spreads along a chain.

Work is bounded by counting: a band remembers at most CANDIDATES survivors, so a document is compared with at most
14 * CANDIDATES others however large its component is. A document that met a full band and joined no one was not
compared with everything: it stays, and says so.

What a document is compared with depends on earlier ones alone. So decisions that stand need not be made again: a
document whose survivor is known is only remembered by its bands (an index of many snapshots, assets/dedup_index).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

CANDIDATES = 64  # survivors that a band remembers: the most similar of a cluster's copies come early
THRESHOLD = 0.75

ShingleSet = np.ndarray  # sorted distinct uint64


@dataclass(frozen=True)
class Assignment:
    """survivor: (n,) int64, the position of each document's survivor, its own if it survives; similarity: (n,) float64,
    Jaccard with the survivor, 1.0 for one; limited: (n,) bool, survives, but was not compared with every candidate."""

    survivor: np.ndarray
    similarity: np.ndarray
    limited: np.ndarray


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


def buckets_of(hashes: np.ndarray) -> tuple[np.ndarray, int]:
    """(n, bands) int64 bucket numbers, dense over all bands, -1 where no other document has the band; and how many.

    hashes: (bands, n) uint64, as `kernels.text.buckets.band_hashes` gives them, of some documents.
    """
    buckets, used = np.full(hashes.shape[::-1], -1, np.int64), 0
    for band, row in enumerate(hashes):
        _, inverse, count = np.unique(row, return_inverse=True, return_counts=True)
        number = np.cumsum(count > 1) - 1
        shared = count[inverse] > 1
        buckets[shared, band] = number[inverse[shared]] + used
        used += int((count > 1).sum())
    return buckets, used


def assign_reference(
    buckets: np.ndarray,
    sets: Sequence[ShingleSet],
    threshold: float = THRESHOLD,
    candidates: int = CANDIDATES,
    known: np.ndarray | None = None,
) -> Assignment:
    """The survivors of documents that come in the order of survival, plainly.

    buckets: (n, bands) int64, -1 for none. sets: their shingle sets. candidates: survivors that a bucket remembers.
    known: (n,) int64, the position of a document's survivor where it is decided already, else -1; a similarity of 1.0
    is returned for such documents, and those that are no one's survivor need no set.
    """
    n = len(buckets)
    survivor, similarity, limited = np.arange(n), np.ones(n), np.zeros(n, bool)
    survivors_of: dict[int, list[int]] = {}
    full: set[int] = set()
    for i in range(n):
        mine = [bucket for bucket in buckets[i].tolist() if bucket >= 0]
        best, best_similarity = i, threshold
        decided = known is not None and known[i] >= 0
        near = set() if decided else {c for bucket in mine for c in survivors_of.get(bucket, ())}
        for candidate in sorted(near):
            a, b = sets[i], sets[candidate]
            if min(len(a), len(b)) < threshold * max(len(a), len(b)):
                continue  # too unlike in size for the overlap to reach the threshold
            found = jaccard_reference(a, b)
            if found > best_similarity or (found >= threshold and best == i):
                best, best_similarity = candidate, found
        if decided and known is not None:
            best = survivor[i] = int(known[i])
        elif best != i:
            survivor[i], similarity[i] = best, best_similarity
        else:
            limited[i] = any(bucket in full for bucket in mine)
        for bucket in mine:
            remembered = survivors_of.setdefault(bucket, [])
            if best not in remembered and len(remembered) == candidates:
                full.add(bucket)
            elif best not in remembered:
                remembered.append(best)
    return Assignment(survivor, similarity, limited)


@numba.njit(cache=True)
def _assign(buckets, n_buckets, room, known, values, start, length, threshold, most, survivor, similarity, limited):
    n, bands = buckets.shape
    head = np.full(n_buckets, -1, np.int64)  # a bucket's survivors: a linked list of nodes, the newest first
    held = np.zeros(n_buckets, np.int64)
    full = np.zeros(n_buckets, np.bool_)
    node_survivor, node_next = np.empty(room, np.int64), np.empty(room, np.int64)
    nodes = 0
    seen = np.full(n, -1, np.int64)
    near = np.empty(bands * most, np.int64)
    for i in range(n):
        count, met_full = 0, False
        for band in range(bands):
            bucket = buckets[i, band]
            if bucket < 0:
                continue
            if known[i] >= 0:
                break
            met_full = met_full or full[bucket]
            node = head[bucket]
            while node >= 0:
                candidate = node_survivor[node]
                if seen[candidate] != i:
                    seen[candidate] = i
                    near[count] = candidate
                    count += 1
                node = node_next[node]
        best, best_similarity = i, threshold
        mine = values[start[i] : start[i] + length[i]]
        for candidate in np.sort(near[:count]):
            less, more = min(length[i], length[candidate]), max(length[i], length[candidate])
            if less < threshold * more:
                continue
            found = jaccard(mine, values[start[candidate] : start[candidate] + length[candidate]])
            if found > best_similarity or (found >= threshold and best == i):
                best, best_similarity = candidate, found
        if known[i] >= 0:
            best = survivor[i] = known[i]
        elif best != i:
            survivor[i], similarity[i] = best, best_similarity
        else:
            limited[i] = met_full
        for band in range(bands):
            bucket = buckets[i, band]
            if bucket < 0:
                continue
            node = head[bucket]
            while node >= 0 and node_survivor[node] != best:
                node = node_next[node]
            if node >= 0:
                continue
            if held[bucket] == most:
                full[bucket] = True
                continue
            node_survivor[nodes], node_next[nodes] = best, head[bucket]
            head[bucket] = nodes
            held[bucket] += 1
            nodes += 1


def assign(
    buckets: np.ndarray,
    n_buckets: int,
    values: np.ndarray,
    start: np.ndarray,
    length: np.ndarray,
    threshold: float = THRESHOLD,
    candidates: int = CANDIDATES,
    known: np.ndarray | None = None,
) -> Assignment:
    """As `assign_reference`; the set of document i is values[start[i] : start[i] + length[i]], which may be mapped.

    Raises ValueError for a threshold out of range.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold is a similarity above 0 and at most 1, not {threshold}")
    n = len(buckets)
    made = Assignment(np.arange(n), np.ones(n), np.zeros(n, np.bool_))
    flat = np.asarray(values)
    documents_in = np.bincount(buckets[buckets >= 0], minlength=n_buckets)
    room = int(np.minimum(documents_in, candidates).sum())  # survivors that all buckets together can remember
    decided = np.full(n, -1, np.int64) if known is None else known
    _assign(buckets, n_buckets, room, decided, flat, start, length, threshold, candidates, *vars(made).values())
    return made
