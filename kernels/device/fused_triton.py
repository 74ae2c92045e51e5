"""The passes of kernels/device/fused.py in Triton: every value is read once and written once, in either direction.

Rows are one program each (of a norm, of a head); gradients of weights are summed in two stages, without atomics, so
that sums repeat to the bit. Values are upcast right after every load. TRITON_INTERPRET=1 must be set before import.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

FLAT = 1024  # entries of a program that works on a flat range
PARTS = 128  # programs that sum the gradient of a weight, each over every 128th row


@triton.jit
def _swiglu(gate_ptr, up_ptr, out_ptr, size, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    gate = tl.load(gate_ptr + place, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + place, (gate * tl.sigmoid(gate) * up).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _swiglu_backward(gate_ptr, up_ptr, of_out_ptr, of_gate_ptr, of_up_ptr, size, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    gate = tl.load(gate_ptr + place, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + place, mask=inside, other=0.0).to(tl.float32)
    received = tl.load(of_out_ptr + place, mask=inside, other=0.0).to(tl.float32)
    opened = tl.sigmoid(gate)
    of_gate = received * up * opened * (1 + gate * (1 - opened))
    tl.store(of_gate_ptr + place, of_gate.to(of_gate_ptr.dtype.element_ty), mask=inside)
    tl.store(of_up_ptr + place, (received * gate * opened).to(of_up_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _add_rms_norm(x_ptr, residual_ptr, weight_ptr, out_ptr, summed_ptr, columns, eps, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * columns
    column = tl.arange(0, BLOCK)
    inside = column < columns
    x = tl.load(x_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
    summed = x + tl.load(residual_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    size = tl.rsqrt(tl.sum(summed * summed, 0) / columns + eps)
    tl.store(out_ptr + start + column, (summed * size * weight).to(out_ptr.dtype.element_ty), mask=inside)
    tl.store(summed_ptr + start + column, summed.to(summed_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _add_rms_norm_backward(
    summed_ptr, weight_ptr, of_out_ptr, of_summed_ptr, of_x_ptr, partial_ptr, rows, columns, eps, BLOCK: tl.constexpr
):
    part = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < columns
    weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    of_weight = tl.zeros([BLOCK], dtype=tl.float32)
    for row in range(part, rows, tl.num_programs(0)):
        start = row * columns
        summed = tl.load(summed_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        received = tl.load(of_out_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        size = tl.rsqrt(tl.sum(summed * summed, 0) / columns + eps)
        unit = summed * size
        of_weight += received * unit
        pulled = received * weight
        of_x = size * (pulled - unit * (tl.sum(pulled * unit, 0) / columns))
        of_x += tl.load(of_summed_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(of_x_ptr + start + column, of_x.to(of_x_ptr.dtype.element_ty), mask=inside)
    tl.store(partial_ptr + part * columns + column, of_weight, mask=inside)


@triton.jit
def _norm_rope(x_ptr, weight_ptr, rotary_ptr, out_ptr, tokens, heads, half, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    place = (row // heads) % tokens
    channel = tl.arange(0, BLOCK)
    inside = channel < half
    first = tl.load(x_ptr + row * 2 * half + channel, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(x_ptr + row * 2 * half + half + channel, mask=inside, other=0.0).to(tl.float32)
    size = tl.rsqrt((tl.sum(first * first, 0) + tl.sum(second * second, 0)) / (2 * half) + eps)
    first *= size * tl.load(weight_ptr + channel, mask=inside, other=0.0).to(tl.float32)
    second *= size * tl.load(weight_ptr + half + channel, mask=inside, other=0.0).to(tl.float32)
    cosine = tl.load(rotary_ptr + place * 2 * half + channel, mask=inside, other=0.0)
    sine = tl.load(rotary_ptr + (tokens + place) * 2 * half + channel, mask=inside, other=0.0)
    kind = out_ptr.dtype.element_ty
    tl.store(out_ptr + row * 2 * half + channel, (first * cosine - second * sine).to(kind), mask=inside)
    tl.store(out_ptr + row * 2 * half + half + channel, (second * cosine + first * sine).to(kind), mask=inside)


@triton.jit
def _norm_rope_backward(
    x_ptr, weight_ptr, rotary_ptr, of_out_ptr, of_x_ptr, partial_ptr, rows, tokens, heads, half, eps,
    BLOCK: tl.constexpr,
):  # fmt: skip
    part = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, BLOCK)
    inside = channel < half
    weight1 = tl.load(weight_ptr + channel, mask=inside, other=0.0).to(tl.float32)
    weight2 = tl.load(weight_ptr + half + channel, mask=inside, other=0.0).to(tl.float32)
    of_weight1 = tl.zeros([BLOCK], dtype=tl.float32)
    of_weight2 = tl.zeros([BLOCK], dtype=tl.float32)
    for row in range(part, rows, tl.num_programs(0)):
        place = (row // heads) % tokens
        start = row * 2 * half
        first = tl.load(x_ptr + start + channel, mask=inside, other=0.0).to(tl.float32)
        second = tl.load(x_ptr + start + half + channel, mask=inside, other=0.0).to(tl.float32)
        cosine = tl.load(rotary_ptr + place * 2 * half + channel, mask=inside, other=0.0)
        sine = tl.load(rotary_ptr + (tokens + place) * 2 * half + channel, mask=inside, other=0.0)
        got1 = tl.load(of_out_ptr + start + channel, mask=inside, other=0.0).to(tl.float32)
        got2 = tl.load(of_out_ptr + start + half + channel, mask=inside, other=0.0).to(tl.float32)
        turned1 = got1 * cosine + got2 * sine
        turned2 = got2 * cosine - got1 * sine
        size = tl.rsqrt((tl.sum(first * first, 0) + tl.sum(second * second, 0)) / (2 * half) + eps)
        first *= size
        second *= size
        of_weight1 += turned1 * first
        of_weight2 += turned2 * second
        turned1 *= weight1
        turned2 *= weight2
        along = (tl.sum(turned1 * first, 0) + tl.sum(turned2 * second, 0)) / (2 * half)
        kind = of_x_ptr.dtype.element_ty
        tl.store(of_x_ptr + start + channel, (size * (turned1 - first * along)).to(kind), mask=inside)
        tl.store(of_x_ptr + start + half + channel, (size * (turned2 - second * along)).to(kind), mask=inside)
    tl.store(partial_ptr + part * 2 * half + channel, of_weight1, mask=inside)
    tl.store(partial_ptr + part * 2 * half + half + channel, of_weight2, mask=inside)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up of contiguous tensors."""
    out = torch.empty_like(gate)
    _launch(_swiglu, -(-gate.numel() // FLAT), gate, up, out, gate.numel(), BLOCK=FLAT)
    return out


def swiglu_backward(gate: Tensor, up: Tensor, of_out: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and up."""
    of_gate, of_up = torch.empty_like(gate), torch.empty_like(up)
    programs = -(-gate.numel() // FLAT)
    _launch(_swiglu_backward, programs, gate, up, of_out, of_gate, of_up, gate.numel(), BLOCK=FLAT)
    return of_gate, of_up


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The normed sum and the sum, of contiguous (N, D)."""
    out, summed = torch.empty_like(x), torch.empty_like(x)
    _launch(_add_rms_norm, len(x), x, residual, weight, out, summed, x.shape[1], eps, BLOCK=_power(x.shape[1]))
    return out, summed


def add_rms_norm_backward(
    summed: Tensor, weight: Tensor, of_out: Tensor, of_summed: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Gradients of the sum and of the weight."""
    rows, columns = summed.shape
    of_x, partial = torch.empty_like(summed), torch.zeros(min(PARTS, max(rows, 1)), columns, device=summed.device)
    given = summed, weight, of_out, of_summed, of_x, partial, rows, columns, eps
    _launch(_add_rms_norm_backward, len(partial) if rows else 0, *given, BLOCK=_power(columns))
    return of_x, partial.sum(0).to(weight.dtype)


def norm_rope(x: Tensor, weight: Tensor, rotary: Tensor, eps: float) -> Tensor:
    """Normed and turned heads, of contiguous (B, T, H, K)."""
    out, half = torch.empty_like(x), x.shape[3] // 2
    rows = x.numel() // x.shape[3]
    _launch(_norm_rope, rows, x, weight, rotary, out, x.shape[1], x.shape[2], half, eps, BLOCK=_power(half))
    return out


def norm_rope_backward(x: Tensor, weight: Tensor, rotary: Tensor, of_out: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Gradients of the heads and of the weight."""
    half, rows = x.shape[3] // 2, x.numel() // x.shape[3]
    of_x, partial = torch.empty_like(x), torch.zeros(min(PARTS, max(rows, 1)), 2 * half, device=x.device)
    given = x, weight, rotary, of_out, of_x, partial, rows, x.shape[1], x.shape[2], half, eps
    _launch(_norm_rope_backward, len(partial) if rows else 0, *given, BLOCK=_power(half))
    return of_x, partial.sum(0).to(weight.dtype)


def _launch(kernel: Any, programs: int, *given: Any, BLOCK: int) -> None:
    if programs:
        kernel[(programs,)](*given, BLOCK=BLOCK, num_warps=4 if BLOCK <= 2048 else 8)


def _power(size: int) -> int:
    return 1 << max(size - 1, 1).bit_length()
