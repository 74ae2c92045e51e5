"""The passes of kernels/device/kmeans.py in Triton: products and their largest in one pass; sums of sorted members.

Values are upcast right after every load. Products of half precision are exact in TF32; float32 is split into three of
them, which keeps its precision. TRITON_INTERPRET=1 must be set before import to run it on a CPU.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, CENTROIDS, WIDTH = 64, 64, 32  # of a tile of products; 16 is the least that a product takes
MEMBERS, COLUMNS = 16, 64  # of a tile of sums


@triton.jit
def _assign(
    rows_ptr, centroids_ptr, labels_ptr, rows, centroids, width, WIDE: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, CENTROIDS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    best = tl.full([ROWS], -float("inf"), WIDE)
    label = tl.zeros([ROWS], tl.int32)
    for first in range(0, centroids, CENTROIDS):
        centroid = first + tl.arange(0, CENTROIDS)
        products = tl.zeros([ROWS, CENTROIDS], WIDE)
        for start in range(0, width, WIDTH):
            channel = start + tl.arange(0, WIDTH)
            inside = channel < width
            x = tl.load(
                rows_ptr + row[:, None] * width + channel[None, :],
                mask=(row < rows)[:, None] & inside[None, :],
                other=0.0,
            ).to(WIDE)
            c = tl.load(
                centroids_ptr + centroid[None, :].to(tl.int64) * width + channel[:, None],
                mask=(centroid < centroids)[None, :] & inside[:, None],
                other=0.0,
            ).to(WIDE)
            products = tl.dot(x, c, products, input_precision=PRECISION, out_dtype=WIDE)
        products = tl.where((centroid < centroids)[None, :], products, -float("inf"))
        top = tl.max(products, 1)
        where = tl.min(tl.where(products == top[:, None], centroid[None, :], centroids), 1)
        label = tl.where(top > best, where, label)
        best = tl.maximum(best, top)
    tl.store(labels_ptr + row, label.to(tl.int64), mask=row < rows)


@triton.jit
def _sums(rows_ptr, order_ptr, starts_ptr, out_ptr, width, MEMBERS: tl.constexpr, COLUMNS: tl.constexpr):
    cluster = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    first, last = tl.load(starts_ptr + cluster), tl.load(starts_ptr + cluster + 1)
    total = tl.zeros([MEMBERS, COLUMNS], tl.float64)
    for start in range(first, last, MEMBERS):
        place = start + tl.arange(0, MEMBERS)
        row = tl.load(order_ptr + place, mask=place < last, other=0)
        inside = (place < last)[:, None] & (column < width)[None, :]
        total += tl.load(rows_ptr + row[:, None] * width + column[None, :], mask=inside, other=0.0).to(tl.float64)
    tl.store(out_ptr + cluster * width + column, tl.sum(total, 0), mask=column < width)


def assign(rows: Tensor, centroids: Tensor) -> Tensor:
    """Labels; rows and centroids of one dtype, contiguous."""
    labels = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    wide, precision = {
        torch.float64: (tl.float64, "ieee"), torch.float32: (tl.float32, "tf32x3")
    }.get(rows.dtype, (tl.float32, "tf32"))  # fmt: skip
    programs: Any = _assign[(triton.cdiv(len(rows), ROWS),)]
    programs(
        rows, centroids, labels, len(rows), len(centroids), rows.shape[1], WIDE=wide, PRECISION=precision,
        ROWS=ROWS, CENTROIDS=CENTROIDS, WIDTH=WIDTH, num_warps=4,
    )  # fmt: skip
    return labels


def sums(rows: Tensor, order: Tensor, starts: Tensor) -> Tensor:
    """(C, K) float64: of rows order[starts[c]] to order[starts[c + 1]]."""
    width = rows.shape[1]
    out = torch.empty(len(starts) - 1, width, dtype=torch.float64, device=rows.device)
    programs: Any = _sums[len(out), triton.cdiv(width, COLUMNS)]
    programs(rows, order, starts, out, width, MEMBERS=MEMBERS, COLUMNS=COLUMNS, num_warps=4)
    return out
