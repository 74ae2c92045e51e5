"""SwiGLU, residual add with RMSNorm, and RMSNorm of heads with rotary positions, each one pass forward and one back.

They keep their inputs and make the rest again in the backward pass, which saves the memory of what torch would keep.
Triton on CUDA, torch elsewhere. Defined in kernels/device/fused_reference.py.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kernels.device import fused_reference as reference
from kernels.device.logprobs import Passes, has_triton


def swiglu(gate: Tensor, up: Tensor, passes: Passes | None = None) -> Tensor:
    """silu(gate) * up, any equal shapes."""
    return _SwiGLU.apply(gate, up, passes)  # type: ignore[return-value]


def add_rms_norm(
    x_ND: Tensor, residual_ND: Tensor, weight_D: Tensor, eps: float, passes: Passes | None = None
) -> tuple[Tensor, Tensor]:
    """RMSNorm of the sum, and the sum."""
    return _AddRMSNorm.apply(x_ND, residual_ND, weight_D, eps, passes)  # type: ignore[return-value]


def norm_rope(x_BTHK: Tensor, weight_K: Tensor, rotary_2TK: Tensor, eps: float, passes: Passes | None = None) -> Tensor:
    """RMSNorm of each head, then rotary positions; rotary_2TK: cosines and sines, float32, without gradient."""
    return _NormRope.apply(x_BTHK, weight_K, rotary_2TK, eps, passes)  # type: ignore[return-value]


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, passes: Passes | None) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.passes = passes
        if kernels := _triton(gate, passes):
            return kernels.swiglu(gate.contiguous(), up.contiguous())
        return reference.swiglu(gate, up)

    @staticmethod
    def backward(ctx: Any, of_out: Tensor) -> Any:  # type: ignore[override]
        gate, up = ctx.saved_tensors
        if kernels := _triton(gate, ctx.passes):
            return *kernels.swiglu_backward(gate.contiguous(), up.contiguous(), of_out.contiguous()), None
        return *_again(reference.swiglu, (gate, up), (of_out,)), None


class _AddRMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor, weight: Tensor, eps: float, passes: Passes | None) -> Any:
        ctx.eps, ctx.passes = eps, passes
        if kernels := _triton(x, passes):
            out, summed = kernels.add_rms_norm(x.contiguous(), residual.contiguous(), weight, eps)
        else:
            out, summed = reference.add_rms_norm(x, residual, weight, eps)
        ctx.save_for_backward(summed, weight)
        return out, summed

    @staticmethod
    def backward(ctx: Any, of_out: Tensor, of_summed: Tensor) -> Any:  # type: ignore[override]
        summed, weight = ctx.saved_tensors
        if kernels := _triton(summed, ctx.passes):
            args = summed, weight, of_out.contiguous(), of_summed.contiguous(), ctx.eps
            of_x, of_weight = kernels.add_rms_norm_backward(*args)
        else:
            again = lambda s, w: reference.add_rms_norm(s, torch.zeros_like(s), w, ctx.eps)  # noqa: E731
            of_x, of_weight = _again(again, (summed, weight), (of_out, of_summed))
        return of_x, of_x, of_weight, None, None


class _NormRope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, rotary: Tensor, eps: float, passes: Passes | None) -> Tensor:
        ctx.save_for_backward(x, weight, rotary)
        ctx.eps, ctx.passes = eps, passes
        if kernels := _triton(x, passes):
            return kernels.norm_rope(x.contiguous(), weight, rotary.contiguous(), eps)
        return reference.norm_rope(x, weight, rotary, eps)

    @staticmethod
    def backward(ctx: Any, of_out: Tensor) -> Any:  # type: ignore[override]
        x, weight, rotary = ctx.saved_tensors
        if kernels := _triton(x, ctx.passes):
            args = x.contiguous(), weight, rotary.contiguous(), of_out.contiguous(), ctx.eps
            of_x, of_weight = kernels.norm_rope_backward(*args)
        else:
            again = lambda one, w: reference.norm_rope(one, w, rotary, ctx.eps)  # noqa: E731
            of_x, of_weight = _again(again, (x, weight), (of_out,))
        return of_x, of_weight, None, None, None


def _again(
    function: Callable[..., Any], inputs: tuple[Tensor, ...], upstream: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Gradients of the inputs, by torch, from computing the function once more."""
    with torch.enable_grad():
        leaves = [one.detach().requires_grad_() for one in inputs]
        found = function(*leaves)
    return torch.autograd.grad(found, leaves, upstream)


def _triton(x: Tensor, passes: Passes | None) -> Any:
    """The Triton passes, or None for torch's."""
    if (passes or ("triton" if x.is_cuda and has_triton() else "torch")) == "torch":
        return None
    from kernels.device import fused_triton

    return fused_triton
