"""The pass of kernels/device/decode.py in Triton: a program for each row, key head and split; then the splits' sum.

The query heads that share a key head are one program's, so keys and values are read once. A split is SPLIT positions;
it keeps its largest score, the sum of its exponentials and the weighted sum of its values (online softmax), and the
second kernel puts the splits of a row together in order. Values are upcast right after every load.
TRITON_INTERPRET=1 must be set before import to run it on a CPU.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

SPLIT = 256  # positions of a program: at 64 rows of 1,000 tokens there are enough programs for a GPU


@triton.jit
def _attend_split(
    q_ptr, keys_ptr, values_ptr, tables_ptr, lengths_ptr, partial_ptr, stats_ptr, table_stride, kv_heads, group, width,
    scale, S: tl.constexpr, SPLIT: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row, kv_head, split = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    heads, splits = kv_heads * group, tl.num_programs(2)
    length = tl.load(lengths_ptr + row)
    head, channel, slot = tl.arange(0, GROUP), tl.arange(0, WIDTH), tl.arange(0, S)
    own = (head[:, None] < group) & (channel[None, :] < width)
    at = (row * heads + kv_head * group + head[:, None]) * width + channel[None, :]
    q = tl.load(q_ptr + at, mask=own, other=0.0).to(tl.float32) * scale
    top = tl.full([GROUP], -float("inf"), tl.float32)
    total = tl.zeros([GROUP], tl.float32)
    mixed = tl.zeros([GROUP, WIDTH], tl.float32)
    first = split * SPLIT
    last = tl.minimum(first + SPLIT, length)
    for start in range(first, last, S):
        page = tl.load(tables_ptr + row * table_stride + start // S).to(tl.int64)
        place = ((page * S + slot[:, None]) * kv_heads + kv_head) * width + channel[None, :]
        seen = start + slot < last
        inside = seen[:, None] & (channel[None, :] < width)
        key = tl.load(keys_ptr + place, mask=inside, other=0.0).to(tl.float32)
        value = tl.load(values_ptr + place, mask=inside, other=0.0).to(tl.float32)
        scores = tl.sum(q[:, None, :] * key[None, :, :], 2)
        scores = tl.where(seen[None, :], scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        shrink = tl.exp(top - higher)
        shares = tl.exp(scores - higher[:, None])
        total = total * shrink + tl.sum(shares, 1)
        mixed = mixed * shrink[:, None] + tl.sum(shares[:, :, None] * value[None, :, :], 1)
        top = higher
    out = (row * heads + kv_head * group + head) * splits + split
    tl.store(partial_ptr + out[:, None] * width + channel[None, :], mixed, mask=own)
    tl.store(stats_ptr + out * 2, top, mask=head < group)
    tl.store(stats_ptr + out * 2 + 1, total, mask=head < group)


@triton.jit
def _put_together(partial_ptr, stats_ptr, lengths_ptr, out_ptr, heads, splits, width, SPLIT: tl.constexpr,
                  WIDTH: tl.constexpr):  # fmt: skip
    one = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, WIDTH)
    inside = channel < width
    length = tl.load(lengths_ptr + one // heads)
    top = -float("inf")
    total = 0.0
    mixed = tl.zeros([WIDTH], tl.float32)
    for split in range(0, tl.cdiv(length, SPLIT)):
        at = one * splits + split
        own = tl.load(stats_ptr + at * 2)
        higher = tl.maximum(top, own)
        shrink, grow = tl.exp(top - higher), tl.exp(own - higher)
        total = total * shrink + tl.load(stats_ptr + at * 2 + 1) * grow
        mixed = mixed * shrink + tl.load(partial_ptr + at * width + channel, mask=inside, other=0.0) * grow
        top = higher
    tl.store(out_ptr + one * width + channel, (mixed / total).to(out_ptr.dtype.element_ty), mask=inside)


def paged_attention(q: Tensor, keys: Tensor, values: Tensor, tables: Tensor, lengths: Tensor) -> Tensor:
    """See kernels/device/decode.py; all contiguous."""
    (rows, heads, width), (_, slots, kv_heads, _) = q.shape, keys.shape
    splits = -(-tables.shape[1] * slots // SPLIT)
    partial = torch.empty(rows, heads, splits, width, device=q.device)
    stats = torch.empty(rows, heads, splits, 2, device=q.device)
    out = torch.empty_like(q)
    wide, group = triton.next_power_of_2(width), heads // kv_heads
    attend: Any = _attend_split
    put_together: Any = _put_together
    if rows:
        attend[(rows, kv_heads, splits)](
            q, keys, values, tables, lengths, partial, stats, tables.stride(0), kv_heads, group, width, width**-0.5,
            S=slots, SPLIT=SPLIT, GROUP=triton.next_power_of_2(group), WIDTH=wide, num_warps=4,
        )  # fmt: skip
        put_together[(rows * heads,)](
            partial, stats, lengths, out, heads, splits, width, SPLIT=SPLIT, WIDTH=wide, num_warps=1
        )
    return out
