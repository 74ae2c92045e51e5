"""The pass of kernels/device/sampling.py in Triton: one program a row, without sorting.

The weight that stands at the border of top-k, and of the nucleus, is found bit by bit of its binary form, by counting
tokens or adding up weights: 31 looks at a row, which stays in the cache. Sums are float64, in blocks of a fixed order.
TRITON_INTERPRET=1 must be set before import to run it on a CPU.
"""

# what calls a jit function inside another is Triton's compiler, which Python's types know nothing of
# pyright: reportGeneralTypeIssues=false

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 2048  # columns that a program holds at once


@triton.jit
def _weights(logits_ptr, first, columns, peak, scale, top1, last1, BLOCK: tl.constexpr):
    """The weights of a block of columns that top-k left: above top1, or equal to it and at most the column last1."""
    column = first + tl.arange(0, BLOCK)
    inside = column < columns
    z = tl.load(logits_ptr + column, mask=inside, other=-float("inf"))
    weight = tl.where(inside, tl.exp((z - peak) * scale), 0.0)
    return column, tl.where((weight > top1) | ((weight == top1) & (column <= last1)), weight, 0.0)


@triton.jit
def _border(logits_ptr, columns, peak, scale, top1, last1, wanted, by_weight, BLOCK: tl.constexpr):
    """The largest weight such that the tokens of at least that weight are `wanted` or more (or weigh as much), and the
    last column of just that weight that is still needed."""
    bits = tl.full([], 0, tl.int32)
    for place in range(0, 31):
        tried = bits | (1 << (30 - place))
        least = tried.to(tl.float32, bitcast=True)
        found = tl.zeros([BLOCK], tl.float64)
        for first in range(0, columns, BLOCK):
            column, weight = _weights(logits_ptr, first, columns, peak, scale, top1, last1, BLOCK)
            taken = (weight >= least) & (weight > 0.0)
            found += tl.where(taken, tl.where(by_weight, weight, 1.0), 0.0).to(tl.float64)
        bits = tl.where(tl.sum(found, 0) >= wanted, tried, bits)
    border = bits.to(tl.float32, bitcast=True)
    above = tl.zeros([BLOCK], tl.float64)
    for first in range(0, columns, BLOCK):
        column, weight = _weights(logits_ptr, first, columns, peak, scale, top1, last1, BLOCK)
        above += tl.where(weight > border, tl.where(by_weight, weight, 1.0), 0.0).to(tl.float64)
    left = wanted - tl.sum(above, 0)
    each = tl.where(by_weight, border, 1.0).to(tl.float64)
    needed = tl.maximum(tl.ceil(left / each), 1.0)
    seen = tl.zeros([], tl.float64)
    last = -1
    for first in range(0, columns, BLOCK):
        column, weight = _weights(logits_ptr, first, columns, peak, scale, top1, last1, BLOCK)
        equal = (weight == border) & (weight > 0.0)
        number = seen + tl.cumsum(equal.to(tl.int32), 0)
        last = tl.maximum(last, tl.max(tl.where(equal & (number <= needed), column, -1), 0))
        seen += tl.sum(equal.to(tl.int32), 0)
    return border, last


@triton.jit
def _draw(
    logits_ptr, temperatures_ptr, top_ks_ptr, top_ps_ptr, min_ps_ptr, uniforms_ptr, tokens_ptr, logprobs_ptr,
    peaks_ptr, sums_ptr, columns, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    logits_ptr += row * columns
    temperature = tl.load(temperatures_ptr + row)
    greedy = temperature == 0.0
    scale = (1.0 / tl.where(greedy, 1.0, temperature)).to(tl.float32)
    tops = tl.full([BLOCK], -float("inf"), tl.float32)
    broken = tl.zeros([BLOCK], tl.int32)
    for first in range(0, columns, BLOCK):
        column = first + tl.arange(0, BLOCK)
        z = tl.load(logits_ptr + column, mask=column < columns, other=-float("inf"))
        tops = tl.maximum(tops, z)
        broken = broken | (z != z).to(tl.int32)
    peak = tl.max(tops, 0)
    sound = (tl.max(broken, 0) == 0) & (peak < float("inf")) & (peak > -float("inf"))
    peak = tl.where(sound, peak, 0.0)
    sums = tl.zeros([BLOCK], tl.float64)
    likeliest = columns
    for first in range(0, columns, BLOCK):
        column = first + tl.arange(0, BLOCK)
        z = tl.load(logits_ptr + column, mask=column < columns, other=-float("inf"))
        sums += tl.where(column < columns, tl.exp((z - peak) * scale), 0.0).to(tl.float64)
        likeliest = tl.minimum(likeliest, tl.min(tl.where((column < columns) & (z == peak), column, columns), 0))
    log_sum = tl.log(tl.sum(sums, 0))
    token = likeliest
    if sound & (temperature > 0.0):
        border, last = tl.zeros([], tl.float32), columns
        top_k = tl.load(top_ks_ptr + row)
        if (top_k > 0) & (top_k < columns):
            border, last = _border(logits_ptr, columns, peak, scale, 0.0, columns, top_k.to(tl.float64), False, BLOCK)
        top_p = tl.load(top_ps_ptr + row)
        if top_p < 1.0:
            whole = tl.zeros([BLOCK], tl.float64)
            for first in range(0, columns, BLOCK):
                column, weight = _weights(logits_ptr, first, columns, peak, scale, border, last, BLOCK)
                whole += weight.to(tl.float64)
            wanted = top_p * tl.sum(whole, 0)
            narrow, narrow_last = _border(logits_ptr, columns, peak, scale, border, last, wanted, True, BLOCK)
            last = tl.where(narrow == border, tl.minimum(last, narrow_last), narrow_last)
            border = narrow
        min_p = tl.load(min_ps_ptr + row).to(tl.float32)
        whole = tl.zeros([], tl.float64)
        for first in range(0, columns, BLOCK):
            column, weight = _weights(logits_ptr, first, columns, peak, scale, border, last, BLOCK)
            whole += tl.sum(tl.where(weight >= min_p, weight, 0.0).to(tl.float64), 0)
        wanted = tl.load(uniforms_ptr + row) * whole
        before = tl.zeros([], tl.float64)
        passed, final = columns, 0
        for first in range(0, columns, BLOCK):
            column, weight = _weights(logits_ptr, first, columns, peak, scale, border, last, BLOCK)
            weight = tl.where(weight >= min_p, weight, 0.0)
            running = before + tl.cumsum(weight.to(tl.float64), 0)
            allowed = weight > 0.0
            passed = tl.minimum(passed, tl.min(tl.where(allowed & (running > wanted), column, columns), 0))
            final = tl.maximum(final, tl.max(tl.where(allowed, column, 0), 0))
            before += tl.sum(weight.to(tl.float64), 0)
        token = tl.minimum(passed, final)
    chosen = tl.load(logits_ptr + tl.minimum(token, columns - 1)).to(tl.float64)
    logprob = (chosen - peak.to(tl.float64)) * scale.to(tl.float64) - log_sum
    tl.store(tokens_ptr + row, tl.where(sound, token, -1).to(tl.int64))
    tl.store(logprobs_ptr + row, tl.where(sound, logprob, float("nan")))
    tl.store(peaks_ptr + row, peak)
    tl.store(sums_ptr + row, log_sum)


def draw(
    logits: Tensor, temperatures: Tensor, top_ks: Tensor, top_ps: Tensor, min_ps: Tensor, uniforms: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens, log-probs, largest logits and logs of sums; see kernels/device/sampling.py."""
    rows, columns = logits.shape
    tokens = torch.empty(rows, dtype=torch.int64, device=logits.device)
    logprobs, sums = (torch.empty(rows, dtype=torch.float64, device=logits.device) for _ in range(2))
    peaks = torch.empty(rows, device=logits.device)
    settings = temperatures.double(), top_ks.long(), top_ps.double(), min_ps.double(), uniforms.double()
    if rows:
        kernel: Any = _draw
        kernel[(rows,)](logits, *settings, tokens, logprobs, peaks, sums, columns, BLOCK=BLOCK, num_warps=8)
    return tokens, logprobs, peaks, sums
