"""The two steps of spherical k-means: the nearest centroid of each row, and the direction of each cluster's sum.

The rules are those of models/diversity/kmeans.py: the largest inner product wins, of equal ones the lowest index; an
empty cluster, or one whose sum is shorter than 1e-12, keeps its centroid. Inner products are summed in the dtype of the
rows, at least in float32: two centroids nearer to each other than its rounding may be taken one for the other. Sums of
members are float64 in a fixed order, so they repeat to the bit. Triton on CUDA, torch elsewhere; the plain form is
kernels/device/kmeans_reference.py. Rows must be finite.
"""

from typing import Any

import torch
from torch import Tensor

from kernels.device.kmeans_reference import SHORTEST
from kernels.device.logprobs import Passes, UnusableShapes, has_triton

CHUNK_BYTES = {"cuda": 256 << 20, "cpu": 4 << 20}  # of inner products that are alive at once in the torch form


def assign(rows_NK: Tensor, centroids_CK: Tensor, passes: Passes | None = None) -> Tensor:
    """(N) int64, the label of each row; the N x C products never exist as a whole. Raises UnusableShapes."""
    _check(rows_NK, centroids_CK)
    rows_NK, centroids_CK = rows_NK.contiguous(), centroids_CK.to(rows_NK.dtype).contiguous()
    if kernels := _triton(rows_NK, passes):
        return kernels.assign(rows_NK, centroids_CK)
    wide = torch.promote_types(rows_NK.dtype, torch.float32)
    size = CHUNK_BYTES.get(rows_NK.device.type, 4 << 20) // (wide.itemsize * len(centroids_CK))
    turned_KC = centroids_CK.to(wide).T
    return torch.cat([(part.to(wide) @ turned_KC).argmax(1) for part in rows_NK.split(max(1, size))])


def means(rows_NK: Tensor, labels_N: Tensor, previous_CK: Tensor, passes: Passes | None = None) -> Tensor:
    """The new centroids (C, K) in the dtype of the previous ones. labels_N: int64 below C. Raises UnusableShapes."""
    _check(rows_NK, previous_CK)
    if labels_N.shape != rows_NK.shape[:1]:
        raise UnusableShapes(f"{tuple(labels_N.shape)} labels are not one for each of {len(rows_NK)} rows")
    ordered, order = labels_N.sort(stable=True)
    starts = torch.searchsorted(ordered, torch.arange(len(previous_CK) + 1, device=ordered.device))
    if kernels := _triton(rows_NK, passes):
        sums = kernels.sums(rows_NK.contiguous(), order, starts)
    else:
        sums = torch.segment_reduce(rows_NK[order].double(), "sum", lengths=starts.diff(), initial=0.0)
    lengths = torch.linalg.vector_norm(sums, dim=1, keepdim=True)
    settled = lengths > SHORTEST
    return torch.where(settled, sums / lengths.where(settled, 1.0), previous_CK.double()).to(previous_CK.dtype)


def _check(rows_NK: Tensor, centroids_CK: Tensor) -> None:
    if rows_NK.dim() != 2 or centroids_CK.dim() != 2 or rows_NK.shape[1] != centroids_CK.shape[1]:
        raise UnusableShapes(f"rows {tuple(rows_NK.shape)} and centroids {tuple(centroids_CK.shape)} have no one width")
    if not len(rows_NK) or not centroids_CK.numel():
        raise UnusableShapes("there is no row or no centroid")


def _triton(rows: Tensor, passes: Passes | None) -> Any:
    """The Triton passes, or None for torch's."""
    if (passes or ("triton" if rows.is_cuda and has_triton() else "torch")) == "torch":
        return None
    from kernels.device import kmeans_triton

    return kmeans_triton
