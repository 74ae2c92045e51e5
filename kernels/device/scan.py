"""The selective scan of Mamba: h_t = exp(-step_t exp(decay)) h_{t-1} + step_t x_t write_t, y_t = h_t . read_t.

In torch a chunk of tokens is scanned in log2 of its length passes (doubling, Hillis and Steele 1986): after pass k
every h_t holds the sum over its last 2^k terms. Nothing is divided and no logarithm is taken, so a factor of exactly 0
starts a channel anew. In Triton, on CUDA, the states stay in registers and every 32nd is kept for the backward pass,
which makes the others again. The plain form is kernels/device/scan_reference.py. B rows, T tokens, E channels, N
numbers of state a channel.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kernels.device.logprobs import Passes, UnusableShapes, has_triton

CHUNK = 128  # tokens whose states (E x N numbers each) are held at once in the torch form


def selective_scan(
    x_BTE: Tensor,
    step_BTE: Tensor,
    write_BTN: Tensor,
    read_BTN: Tensor,
    decay_EN: Tensor,
    goes_on_BT: Tensor,
    before_BEN: Tensor,
    passes: Passes | None = None,
) -> tuple[Tensor, Tensor]:
    """What the states say (B, T, E), in the dtype of x, and the last state (B, E, N), in that of before.

    decay_EN: the logarithm of what a step takes from a state. goes_on_BT: False where nothing is carried over to a
    token. before_BEN: the state before the first token. All but goes_on_BT carry gradient, once. States are float32 at
    least. Raises UnusableShapes.
    """
    given = x_BTE, step_BTE, write_BTN, read_BTN, decay_EN, goes_on_BT, before_BEN
    _check(*given)
    if (passes or ("triton" if x_BTE.is_cuda and has_triton() else "torch")) == "triton":
        return _SelectiveScan.apply(*given, torch.is_grad_enabled())  # type: ignore[return-value]
    return _in_torch(*given)


def _in_torch(
    x: Tensor, step: Tensor, write: Tensor, read: Tensor, decay: Tensor, goes_on: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(x.dtype, torch.float32)
    kept, state = state.dtype, state.to(wide)
    again, pieces = torch.is_grad_enabled() and x.shape[1] > CHUNK, []  # again: states are not kept but remade
    parts = [one.split(CHUNK, 1) for one in (*(one.to(wide) for one in (x, step, write, read)), goes_on)]
    for part in zip(*parts, strict=True):
        given: Any = *part, decay, state
        if again:
            y, state = checkpoint(_states, *given, use_reentrant=False, preserve_rng_state=False)  # type: ignore[misc]
        else:
            y, state = _states(*given)
        pieces.append(y)
    return torch.cat(pieces, 1).to(x.dtype), state.to(kept)


def _states(
    x: Tensor, step: Tensor, write: Tensor, read: Tensor, goes_on: Tensor, decay: Tensor, before: Tensor
) -> tuple[Tensor, Tensor]:
    """What a chunk's states say, (B, C, E), and the last state."""
    rate_EN = -decay.to(x.dtype).exp()
    a = (step[..., None] * rate_EN).exp() * goes_on[..., None, None]
    u = (step * x)[..., None] * write[:, :, None, :]
    u = torch.cat([u[:, :1] + a[:, :1] * before[:, None], u[:, 1:]], 1)
    h = scan(a, u)
    return (h * read[:, :, None, :]).sum(-1), h[:, -1]


def scan(a: Tensor, u: Tensor) -> Tensor:
    """h_t = a_t h_{t-1} + u_t along axis 1; the backward pass is the same scan from the end (no second derivative)."""
    return _Scan.apply(a, u)  # type: ignore[return-value]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, u: Tensor) -> Tensor:
        h = _doubled(a, u)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor]:
        a, h = ctx.saved_tensors
        later = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], 1)
        of_u = _doubled(later.flip(1), upstream[0].flip(1)).flip(1)
        before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1)
        return of_u * before, of_u


def _doubled(a: Tensor, u: Tensor) -> Tensor:
    a, h, reach = a.clone(), u.clone(), 1
    while reach < u.shape[1]:
        h[:, reach:] += a[:, reach:] * h[:, :-reach]
        a[:, reach:] = a[:, reach:] * a[:, :-reach]
        reach *= 2
    return h


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:
        from kernels.device import scan_triton

        *tensors, learns = given
        tensors = [one.contiguous() for one in tensors]
        whole: Any = *tensors, learns
        y, last, kept = scan_triton.forward(*whole)
        if learns:
            ctx.save_for_backward(*tensors, kept)
        return y, last

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        from kernels.device import scan_triton

        given: Any = *ctx.saved_tensors, *(one.contiguous() for one in upstream)
        return *scan_triton.backward(*given), None


def _check(
    x: Tensor, step: Tensor, write: Tensor, read: Tensor, decay: Tensor, goes_on: Tensor, before: Tensor
) -> None:
    if x.dim() != 3 or decay.dim() != 2 or not x.numel():
        raise UnusableShapes(f"want x (B, T, E) with a token and decay (E, N), got {x.shape} and {decay.shape}")
    rows, tokens, channels = x.shape
    states = decay.shape[1]
    wanted = [(rows, tokens, channels), *[(rows, tokens, states)] * 2, (channels, states), (rows, tokens),
              (rows, channels, states)]  # fmt: skip
    found = [tuple(one.shape) for one in (step, write, read, decay, goes_on, before)]
    if found != wanted:
        raise UnusableShapes(f"with x {tuple(x.shape)} the others are {wanted}, not {found}")
