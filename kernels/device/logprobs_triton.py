"""The two passes over a chunk of logits in Triton: statistics in one read, their gradient in one read and one write.

Same functions as the torch passes of kernels/device/logprobs.py. One program a row keeps a running maximum and sums of
e^z and z e^z (online softmax, arXiv 1805.02867); the gradient is elementwise. No atomics: sums repeat to the bit.
Values are upcast right after every load: half-precision arithmetic is wrong on the CPU interpreter and lossy on a GPU.
TRITON_INTERPRET=1 must be set before this module is imported to run it on a CPU.
"""

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.device.logprobs_reference import TokenStats

if TYPE_CHECKING:
    from kernels.device.logprobs import Settings

BLOCK = 4096  # columns that a program holds at once
WARPS = 8


@triton.jit
def _softcapped(z, softcap, CAPPED: tl.constexpr):
    if CAPPED:
        z = softcap * (2 * tl.sigmoid(2 * z / softcap) - 1)  # tanh; the interpreter has no libdevice
    return z


@triton.jit
def _statistics(
    logits_ptr, targets_ptr, selected_ptr, lse_ptr, entropy_ptr, columns, row_stride, ignore_index, softcap,
    K: tl.constexpr, BLOCK: tl.constexpr, CAPPED: tl.constexpr, ENTROPY: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    logits_ptr += row * row_stride
    top = -float("inf")
    total = 0.0
    weighted = 0.0
    for first in range(0, columns, BLOCK):
        column = first + tl.arange(0, BLOCK)
        inside = column < columns
        z = tl.load(logits_ptr + column, mask=inside, other=-float("inf")).to(tl.float32)
        z = _softcapped(z, softcap, CAPPED)
        z = tl.where(inside, z, -float("inf"))
        higher = tl.maximum(top, tl.max(z, 0))
        shrink = tl.exp(top - higher)
        e = tl.exp(z - higher)
        total = total * shrink + tl.sum(e, 0)
        if ENTROPY:
            weighted = weighted * shrink + tl.sum(e * tl.where(inside, z, 0.0), 0)
        top = higher
    lse = top + tl.log(total)
    tl.store(lse_ptr + row, lse)
    if ENTROPY:
        tl.store(entropy_ptr + row, lse - weighted / total)
    for k in range(K):
        target = tl.load(targets_ptr + row * K + k)
        real = target != ignore_index
        z = tl.load(logits_ptr + target, mask=real, other=0.0).to(tl.float32)
        z = _softcapped(z, softcap, CAPPED)
        tl.store(selected_ptr + row * K + k, tl.where(real, z - lse, 0.0))


@triton.jit
def _gradient(
    logits_ptr, targets_ptr, lse_ptr, entropy_ptr, of_selected_ptr, of_lse_ptr, of_entropy_ptr, columns, row_stride,
    ignore_index, softcap,
    K: tl.constexpr, BLOCK: tl.constexpr, CAPPED: tl.constexpr, ENTROPY: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    logits_ptr += row * row_stride
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    z = tl.load(logits_ptr + column, mask=inside, other=0.0).to(tl.float32)
    z = _softcapped(z, softcap, CAPPED)
    log_p = z - tl.load(lse_ptr + row)
    of_all = tl.load(of_lse_ptr + row)
    of_chosen = tl.zeros([BLOCK], dtype=tl.float32)
    for k in range(K):
        target = tl.load(targets_ptr + row * K + k)
        received = tl.where(target != ignore_index, tl.load(of_selected_ptr + row * K + k), 0.0)
        of_all -= received
        of_chosen += tl.where(column == target, received, 0.0)
    if ENTROPY:
        of_entropy = tl.load(of_entropy_ptr + row)
        found = tl.exp(log_p) * (of_all - of_entropy * (log_p + tl.load(entropy_ptr + row))) + of_chosen
    else:
        found = tl.exp(log_p) * of_all + of_chosen
    if CAPPED:
        found *= 1 - (z / softcap) * (z / softcap)
    tl.store(logits_ptr + column, found.to(logits_ptr.dtype.element_ty), mask=inside)


def statistics(logits_CV: Tensor, targets_CK: Tensor, settings: "Settings") -> tuple[Tensor, Tensor, Tensor]:
    """selected (C, K), lse (C), entropy (C), float32; the logits are left as they are."""
    rows, columns = logits_CV.shape
    made = {"dtype": torch.float32, "device": logits_CV.device}
    selected_CK, lse_C = torch.empty(targets_CK.shape, **made), torch.empty(rows, **made)
    entropy_C = torch.zeros(rows, **made)
    if rows:
        launch: Any = _statistics[(rows,)]
        launch(
            logits_CV, targets_CK.contiguous(), selected_CK, lse_C, entropy_C, columns, logits_CV.stride(0),
            settings.ignore_index, settings.softcap,
            K=targets_CK.shape[1], BLOCK=_block(columns), CAPPED=settings.softcap != 0, ENTROPY=settings.entropy,
            num_warps=WARPS,
        )  # fmt: skip
    return selected_CK, lse_C, entropy_C


def gradient(
    logits_CV: Tensor,
    targets_CK: Tensor,
    lse_C: Tensor,
    entropy_C: Tensor,
    upstream: TokenStats,
    settings: "Settings",
) -> None:
    """Overwrites the logits with their gradient; `upstream` are the gradients of the three statistics."""
    rows, columns = logits_CV.shape
    block = _block(columns)
    if rows:
        launch: Any = _gradient[(rows, triton.cdiv(columns, block))]
        launch(
            logits_CV, targets_CK.contiguous(), lse_C, entropy_C,
            *(received.float().contiguous() for received in upstream), columns, logits_CV.stride(0),
            settings.ignore_index, settings.softcap,
            K=targets_CK.shape[1], BLOCK=block, CAPPED=settings.softcap != 0, ENTROPY=settings.entropy,
            num_warps=WARPS,
        )  # fmt: skip


def _block(columns: int) -> int:
    return min(BLOCK, 1 << max(columns - 1, 1).bit_length())
