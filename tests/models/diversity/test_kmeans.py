"""Spherical k-means: known fixed points, the same clusters for any order of rows."""

import numpy as np
import pytest

from models.diversity.kmeans import TooFewRows, nearest, spherical_kmeans
from models.diversity.vendi import DegenerateFeatures


def degrees(*angles: float) -> np.ndarray:
    radians = np.deg2rad(np.array(angles))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def names(n: int) -> list[str]:
    return [f"row-{index:04d}" for index in range(n)]


@pytest.mark.parametrize("seed", range(5))
def test_three_separate_bundles_are_found_with_their_mean_directions(seed):
    rows = degrees(0, 10, 20, 130, 140, 250, 260, 270) * np.array([[1], [9], [1], [2], [2], [5], [1], [1]])
    clusters = spherical_kmeans(names(8), rows, 3, seed)
    assert sorted(clusters.sizes_c.tolist()) == [2, 3, 3]
    groups = [clusters.labels_n[:3], clusters.labels_n[3:5], clusters.labels_n[5:]]
    assert all(len(set(group.tolist())) == 1 for group in groups)
    assert np.allclose(clusters.centroids_ck[[group[0] for group in groups]], degrees(10, 135, 260))


def test_length_of_a_row_does_not_matter():
    rows = np.random.default_rng(0).standard_normal((60, 8))
    scaled = rows * np.random.default_rng(1).uniform(0.01, 100, (60, 1))
    assert np.array_equal(
        spherical_kmeans(names(60), rows, 6, 2).labels_n, spherical_kmeans(names(60), scaled, 6, 2).labels_n
    )


def test_clusters_do_not_depend_on_the_order_of_rows():
    rows, ids = np.random.default_rng(3).standard_normal((200, 16)), names(200)
    order = np.random.default_rng(4).permutation(200)
    first = spherical_kmeans(ids, rows, 12, 5)
    second = spherical_kmeans([ids[index] for index in order], rows[order], 12, 5)
    assert np.array_equal(first.labels_n[order], second.labels_n)
    assert np.array_equal(first.centroids_ck, second.centroids_ck)


def test_labels_are_the_nearest_centroids_and_sizes_count_them():
    rows = np.random.default_rng(6).standard_normal((150, 10))
    clusters = spherical_kmeans(names(150), rows, 7, 0, max_iterations=200)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.array_equal(clusters.labels_n, nearest(unit, clusters.centroids_ck))
    assert clusters.sizes_c.sum() == 150 and np.array_equal(
        clusters.sizes_c, np.bincount(clusters.labels_n, minlength=7)
    )
    for cluster in range(7):  # a fixed point: each centroid is the direction of its members' mean
        mean = unit[clusters.labels_n == cluster].sum(axis=0)
        assert np.allclose(clusters.centroids_ck[cluster], mean / np.linalg.norm(mean))


def test_repeated_rows_leave_clusters_empty_but_never_undefined():
    rows = np.repeat(degrees(0, 90), [5, 5], axis=0)
    clusters = spherical_kmeans(names(10), rows, 4, 0)
    assert np.allclose(np.linalg.norm(clusters.centroids_ck, axis=1), 1)
    assert sorted(clusters.sizes_c.tolist()) == [0, 0, 5, 5]


def test_unusable_input_is_a_typed_error():
    with pytest.raises(TooFewRows):
        spherical_kmeans(names(3), np.eye(3), 4, 0)
    with pytest.raises(ValueError, match="distinct"):
        spherical_kmeans(["a", "a"], np.eye(2), 1, 0)
    with pytest.raises(DegenerateFeatures):
        spherical_kmeans(names(2), np.zeros((2, 3)), 1, 0)
