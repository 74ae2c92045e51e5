"""Prismatic selection: grow a pool by what falls into its sparsely populated gradient clusters.

Start from a random pool; per round cluster it, offer it a fresh batch of candidates, keep those whose nearest
centroid is one of the sparse clusters, add them, cluster again (Jung et al., arXiv 2505.20161). A cluster is sparse
when its size is strictly below sorted(sizes)[int(clusters · keep_fraction)]. The published code and the paper
disagree on the number of clusters (10 % and 1 % of the pool), so both fractions are parameters. When no cluster is
sparse the round keeps nothing and says so; the published code then keeps everything.

Every draw is by hash of (seed, id): the order in which candidates are stored decides nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.config import InputError
from models.diversity.kmeans import nearest, spherical_kmeans
from models.diversity.vendi import g_vendi, unit_rows

NO_SPARSE_CLUSTER = "no sparse cluster: all sizes are at or above the threshold, nothing was kept"


class BadSelection(InputError):
    """A selection parameter cannot be met by these candidates; the message says which."""


@dataclass(frozen=True)
class Round:
    """What one round saw and kept. `acceptance` = accepted / offered; `over_generation` = its inverse."""

    number: int  # from 1
    pool: int  # size before the round
    clusters: int
    sparse_clusters: int
    threshold: int  # a cluster below this size is sparse
    offered: int
    accepted: int
    acceptance: float
    g_vendi: float  # of the pool after the round
    note: str | None = None


@dataclass(frozen=True)
class Selection:
    """Chosen ids in the order they entered, and how each round went."""

    ids: tuple[str, ...]
    start: int  # size of the random pool that it began with
    rounds: tuple[Round, ...]


def draw_order(ids: Sequence[str], seed: int) -> list[str]:
    """The ids in a random order that depends on the seed and the set of ids only."""
    return sorted(ids, key=lambda identity: hashlib.sha256(f"{seed}\0{identity}".encode()).digest())


def random_subset(ids: Sequence[str], size: int, seed: int) -> list[str]:
    """`size` ids drawn without replacement: the baseline every selection is held against."""
    return draw_order(ids, seed)[:size]


def sparse_clusters(sizes_c: np.ndarray, keep_fraction: float) -> tuple[np.ndarray, int]:
    """Indices of clusters with fewer members than the threshold sorted(sizes)[int(c · keep_fraction)], and it."""
    threshold = int(np.sort(sizes_c)[min(int(len(sizes_c) * keep_fraction), len(sizes_c) - 1)])
    return np.flatnonzero(sizes_c < threshold), threshold


def select(
    ids: Sequence[str],
    features_nk: np.ndarray,
    *,
    start: int,
    rounds: int,
    k_fraction: float,
    keep_fraction: float,
    target: int,
    seed: int,
) -> Selection:
    """Grow a pool of `start` random candidates over `rounds` equal batches of the others, up to `target`.

    features_nk are gradient features, one row per id. The pool can end below `target`: batches are not offered twice.
    Raises BadSelection when the numbers do not fit the candidates.
    """
    if not 2 <= start < min(target, len(ids)) or rounds < 1:
        raise BadSelection(f"need 2 ≤ start {start} < target {target}, candidates {len(ids)}, and rounds {rounds} ≥ 1")
    if not 0 < k_fraction <= 1 or not 0 < keep_fraction <= 1:
        raise BadSelection(f"k_fraction {k_fraction} and keep_fraction {keep_fraction} must lie in (0, 1]")
    rows = unit_rows(features_nk)
    row_of = {identity: index for index, identity in enumerate(ids)}
    order = draw_order(ids, seed)
    pool, fresh = order[:start], order[start:]
    history: list[Round] = []
    for number in range(1, rounds + 1):
        batch = fresh[len(fresh) * (number - 1) // rounds : len(fresh) * number // rounds]
        accepted, facts = _accepted(pool, batch, rows, row_of, k_fraction, keep_fraction, seed)
        accepted = accepted[: target - len(pool)]
        grown = pool + accepted
        history.append(
            Round(
                number=number,
                pool=len(pool),
                offered=len(batch),
                accepted=len(accepted),
                acceptance=len(accepted) / len(batch) if batch else 0.0,
                g_vendi=g_vendi(rows[[row_of[identity] for identity in grown]]),
                **facts,
            )
        )
        pool = grown
        if len(pool) == target:
            break
    return Selection(tuple(pool), start, tuple(history))


def _accepted(pool, batch, rows, row_of, k_fraction, keep_fraction, seed) -> tuple[list[str], dict]:
    n_clusters = max(2, round(k_fraction * len(pool)))
    clusters = spherical_kmeans(pool, rows[[row_of[identity] for identity in pool]], n_clusters, seed)
    sparse, threshold = sparse_clusters(clusters.sizes_c, keep_fraction)
    facts = {"clusters": n_clusters, "sparse_clusters": len(sparse), "threshold": threshold}
    if not len(sparse) or not batch:
        return [], {**facts, "note": NO_SPARSE_CLUSTER if not len(sparse) else "no candidates left"}
    where = nearest(rows[[row_of[identity] for identity in batch]], clusters.centroids_ck)
    return [identity for identity, cluster in zip(batch, where, strict=True) if cluster in sparse], facts
