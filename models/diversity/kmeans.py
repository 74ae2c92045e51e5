"""Spherical k-means on unit rows: clusters of gradient directions, the same for any order of the rows.

Lloyd's algorithm with cosine assignment. Rows are sorted by id before anything is drawn or summed, so clusters are a
function of the set of rows and the seed. The first centroids come from k-means++ (squared distance 2 - 2cos); an empty
cluster keeps its last centroid, so it stays a place that a new row can fall into.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.config import InputError
from models.diversity.vendi import unit_rows


class TooFewRows(InputError):
    """There are fewer rows than clusters."""


@dataclass(frozen=True)
class Clusters:
    """`centroids_ck` are unit rows (float64); `labels_n` the cluster of each row in the caller's order."""

    centroids_ck: np.ndarray
    labels_n: np.ndarray
    sizes_c: np.ndarray


def spherical_kmeans(
    ids: Sequence[str], features_nk: np.ndarray, n_clusters: int, seed: int, max_iterations: int = 20
) -> Clusters:
    """Cluster n rows with distinct ids into n_clusters. Raises TooFewRows, DegenerateFeatures."""
    if not 1 <= n_clusters <= len(ids):
        raise TooFewRows(f"{n_clusters} clusters need at least as many rows, there are {len(ids)}")
    if len(set(ids)) != len(ids) or len(ids) != len(features_nk):
        raise ValueError("ids must be distinct and one per row")
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__))
    rows = unit_rows(np.asarray(features_nk)[order])
    centroids = rows[_plus_plus(rows, n_clusters, np.random.default_rng(seed))]
    labels = nearest(rows, centroids)
    for _ in range(max_iterations):
        centroids = _means(rows, labels, centroids)
        moved = nearest(rows, centroids)
        settled = np.array_equal(moved, labels)
        labels = moved
        if settled:
            break
    in_caller_order = np.empty_like(labels)
    in_caller_order[order] = labels
    return Clusters(centroids, in_caller_order, np.bincount(labels, minlength=n_clusters))


def nearest(rows_nk: np.ndarray, centroids_ck: np.ndarray) -> np.ndarray:
    """Index of the centroid with the largest cosine for each row; the lower index wins a tie."""
    cosines_nc = (torch.from_numpy(rows_nk) @ torch.from_numpy(centroids_ck).T).numpy()
    return np.argmax(cosines_nc, axis=1)


def _plus_plus(rows: np.ndarray, n_clusters: int, generator: np.random.Generator) -> list[int]:
    chosen = [int(generator.integers(len(rows)))]
    distance = _distance(rows, rows[chosen[0]])
    for _ in range(n_clusters - 1):
        distance = np.maximum(distance, 0.0)
        distance[chosen] = 0.0
        total = distance.sum()
        if total > 0:
            pick = int(np.searchsorted(np.cumsum(distance), generator.random() * total, side="right"))
            pick = min(pick, len(rows) - 1)
        else:  # every remaining row repeats a chosen one
            pick = next(row for row in range(len(rows)) if row not in set(chosen))
        chosen.append(pick)
        distance = np.minimum(distance, _distance(rows, rows[pick]))
    return chosen


def _distance(rows: np.ndarray, to: np.ndarray) -> np.ndarray:
    return 2 - 2 * np.einsum("nk,k->n", rows, to)


def _means(rows: np.ndarray, labels: np.ndarray, previous: np.ndarray) -> np.ndarray:
    sums = np.zeros_like(previous)
    np.add.at(sums, labels, rows)
    lengths = np.linalg.norm(sums, axis=1)
    settled = lengths > 1e-12  # members of an emptied or perfectly opposed cluster define no direction
    return np.where(settled[:, None], sums / np.where(settled, lengths, 1.0)[:, None], previous)
