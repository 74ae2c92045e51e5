"""Near-duplicate clusters: documents whose shingle sets overlap, each cluster with one survivor, whatever the order.

Candidates share all 8 values of one of the 14 bands of their MinHash signatures; shared bands join documents into
components (kernels.text.buckets). Inside a component documents are taken by their key, and each joins an earlier
survivor only if their exact similarity reaches the threshold (kernels.text.verify): likeness never spreads along a
chain, and components of any size are safe.

The threshold 0.75 is what FineWeb says it targets (arXiv 2406.17557, section 3.4), a little above the middle of the
curve of 14 bands of 8, (1/14)^(1/8) = 0.72: a pair becomes a candidate with probability 1 - (1 - s^8)^14, which is .77
at s = .75, .92 at .80 and .99 at .85. Lower, most pairs would be missed; higher, found ones would be thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from kernels.text import buckets, verify
from kernels.text.bands import BANDS, ROWS
from kernels.text.verify import THRESHOLD, ShingleSet, jaccard, jaccard_reference, shingle_set

__all__ = [
    "THRESHOLD", "Clusters", "ShingleSet", "band_keys", "batches", "candidate_probability", "cluster", "components",
    "components_reference", "jaccard", "jaccard_reference", "shingle_set",
]  # fmt: skip

BATCH_DOCUMENTS = 16_384  # documents whose shingle sets are compared at a time; a larger component is one batch


@dataclass(frozen=True)
class Clusters:
    """survivor: (n,) int64, the position of each document's survivor, its own if it survives; similarity: (n,) float64,
    Jaccard of its shingle set with the survivor's, 1.0 for a survivor; size: (n,) int64, documents in its cluster;
    component_size: (n,) int64, documents that shared bands connect with it, unverified (datatrove's cluster);
    limited: (n,) bool, it stays, but was not compared with every candidate (kernels.text.verify)."""

    survivor: np.ndarray
    similarity: np.ndarray
    size: np.ndarray
    component_size: np.ndarray
    limited: np.ndarray


def candidate_probability(similarity: float) -> float:
    """Chance that two documents of that Jaccard similarity share a band: 1 - (1 - s^8)^14 (Broder 1997)."""
    return 1 - (1 - similarity**ROWS) ** BANDS


def band_keys(signatures: np.ndarray) -> np.ndarray:
    """(n, 14) int64: equal numbers in a column are equal bands; -1 where no other document has that band.

    The plain counterpart of `kernels.text.buckets.band_hashes`: bands are compared whole (64 bytes), so unlike ones are
    never joined by a hash. `signatures`: (n, 112) uint64. `components(band_keys(signatures))` is datatrove's partition
    exactly; `kernels.text.buckets.partition(signatures)` is the same at scale.
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
                buckets.join(parent, first[key], i)
    for i in range(n):
        parent[i] = buckets.find(parent, i)
    return parent


def batches(label: np.ndarray, rank: np.ndarray, most: int = BATCH_DOCUMENTS) -> Iterator[np.ndarray]:
    """Positions of the documents of components of two or more: whole components, up to `most` documents a time.

    label: (n,) component of each document; rank: (n,) its place in the order of survival. Inside a batch documents come
    component by component, in the order of survival; a component of more than `most` documents is a batch alone.
    """
    members = np.flatnonzero(np.bincount(label, minlength=len(label))[label] > 1)
    members = members[np.lexsort((rank[members], label[members]))]
    starts = np.append(np.flatnonzero(np.diff(label[members], prepend=-1)), len(members))
    first = 0
    while first < len(starts) - 1:
        last = int(np.searchsorted(starts, starts[first] + most, side="right")) - 1
        last = max(last, first + 1)
        yield members[starts[first] : starts[last]]
        first = last


def cluster(
    keys: Sequence[Any],
    signatures: np.ndarray,
    shingle_sets: Callable[[Sequence[int]], Sequence[ShingleSet]],
    threshold: float = THRESHOLD,
) -> Clusters:
    """Clusters n documents.

    keys: n distinct sortable values that do not depend on the documents' order; the least of a cluster survives.
    signatures: (n, 112) uint64. shingle_sets: gives the sets of the documents at some positions; asked for a batch of
    components at a time, and only for documents that have a candidate. threshold: least similarity of a near-duplicate.
    Raises ValueError for equal keys or a threshold out of range.
    """
    n = len(keys)
    if len(set(keys)) != n:
        raise ValueError("two documents have the same key: the survivor would depend on their order")
    rank = np.empty(n, np.int64)
    rank[sorted(range(n), key=lambda i: keys[i])] = np.arange(n)
    hashes = buckets.band_hashes(signatures)
    label = buckets.components(n, hashes)

    def flat(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sets = shingle_sets(batch.tolist())
        length = np.array([len(one) for one in sets], np.int64)
        return np.concatenate(sets), np.cumsum(length) - length, length

    return decide(label, rank, lambda batch: hashes[:, batch], flat, threshold)


def decide(
    label: np.ndarray,
    rank: np.ndarray,
    hashes: Callable[[np.ndarray], np.ndarray],
    flat_sets: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]],
    threshold: float = THRESHOLD,
    most: int = BATCH_DOCUMENTS,
) -> Clusters:
    """The clusters of documents whose components are known, a batch of components at a time.

    label, rank: as `batches`. hashes: gives the (14, m) band hashes of the m documents at some positions; flat_sets:
    their shingle sets as (values, start, length), which may be mapped from a file.
    Raises ValueError for a threshold out of range.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold is a similarity above 0 and at most 1, not {threshold}")
    n = len(label)
    survivor, similarity, limited = np.arange(n), np.ones(n), np.zeros(n, bool)
    for batch in batches(label, rank, most):
        made = verify.assign(*verify.buckets_of(hashes(batch)), *flat_sets(batch), threshold)
        survivor[batch] = batch[made.survivor]
        similarity[batch], limited[batch] = made.similarity, made.limited
    size = np.bincount(survivor, minlength=n)[survivor]
    return Clusters(survivor, similarity, size, np.bincount(label, minlength=n)[label], limited)
