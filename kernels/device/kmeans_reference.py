"""The two steps of spherical k-means, the plain way in float64: as models/diversity/kmeans.py takes them on the CPU."""

from torch import Tensor

SHORTEST = 1e-12  # a sum of members shorter than this has no direction


def assign(rows_NK: Tensor, centroids_CK: Tensor) -> Tensor:
    """(N) int64: the centroid with the largest inner product, of equal ones the first."""
    return (rows_NK.double() @ centroids_CK.double().T).argmax(1)


def means(rows_NK: Tensor, labels_N: Tensor, previous_CK: Tensor) -> Tensor:
    """(C, K) float64: the direction of the sum of each cluster's rows, or the previous centroid where there is none."""
    found = previous_CK.double().clone()
    for cluster in range(len(previous_CK)):
        total = rows_NK[labels_N == cluster].double().sum(0)
        if total.norm() > SHORTEST:
            found[cluster] = total / total.norm()
    return found
