"""The passes of kernels/device/scan.py in Triton: a program walks over a row's tokens with the states of 16 channels.

The states are in registers; every KEPT-th is kept. The backward pass goes over those pieces from the last to the
first: it makes the states of a piece again, into memory of its own that stays in the cache, and walks back over them.
What many programs add to (gradients of write, read and decay) is a sum over partial sums, without atomics, so sums
repeat to the bit. Values are upcast right after every load. TRITON_INTERPRET=1 must be set before import to run it on
a CPU.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

CHANNELS = 16  # of a program
KEPT = 32  # tokens from one kept state to the next


@triton.jit
def _token(x_ptr, step_ptr, write_ptr, goes_on_ptr, token, channel, channels, state, states):
    """x, step, write and whether the state goes on at a token of the flat (B * T)."""
    own, real = channel < channels, state < states
    x = tl.load(x_ptr + token * channels + channel, mask=own, other=0.0).to(tl.float32)
    step = tl.load(step_ptr + token * channels + channel, mask=own, other=0.0).to(tl.float32)
    write = tl.load(write_ptr + token * states + state, mask=real, other=0.0).to(tl.float32)
    return x, step, write, tl.load(goes_on_ptr + token).to(tl.float32)


@triton.jit
def _forward(
    x_ptr, step_ptr, write_ptr, read_ptr, decay_ptr, goes_on_ptr, before_ptr, y_ptr, last_ptr, kept_ptr, tokens,
    channels, states, pieces, LEARNS: tl.constexpr, KEPT: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    channel, state = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    inside = (channel < channels)[:, None] & (state < states)[None, :]
    place = channel[:, None] * states + state[None, :]
    size = channels * states
    rate = -tl.exp(tl.load(decay_ptr + place, mask=inside, other=0.0).to(tl.float32))
    h = tl.load(before_ptr + row * size + place, mask=inside, other=0.0).to(tl.float32)
    for piece in range(0, pieces):
        if LEARNS:
            tl.store(kept_ptr + (row * pieces + piece) * size + place, h, mask=inside)
        first = piece * KEPT
        for i in range(0, tl.minimum(KEPT, tokens - first)):
            token = row * tokens + first + i
            x, step, write, goes_on = _token(  # type: ignore[misc]
                x_ptr, step_ptr, write_ptr, goes_on_ptr, token, channel, channels, state, states
            )
            read = tl.load(read_ptr + token * states + state, mask=state < states, other=0.0).to(tl.float32)
            h = tl.exp(step[:, None] * rate) * goes_on * h + (step * x)[:, None] * write[None, :]
            y = tl.sum(h * read[None, :], 1)
            tl.store(y_ptr + token * channels + channel, y.to(y_ptr.dtype.element_ty), mask=channel < channels)
    tl.store(last_ptr + row * size + place, h.to(last_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _backward(
    x_ptr, step_ptr, write_ptr, read_ptr, decay_ptr, goes_on_ptr, kept_ptr, of_y_ptr, of_last_ptr, of_x_ptr,
    of_step_ptr, of_write_ptr, of_read_ptr, of_decay_ptr, of_before_ptr, again_ptr, tokens, channels, states, pieces,
    KEPT: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    row, block, blocks = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    channel, state = block * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    own, real = channel < channels, state < states
    inside = own[:, None] & real[None, :]
    place = channel[:, None] * states + state[None, :]
    size = channels * states
    within = tl.arange(0, CHANNELS)[:, None] * STATES + state[None, :]
    again_ptr += (row * blocks + block) * (KEPT * CHANNELS * STATES)
    rate = -tl.exp(tl.load(decay_ptr + place, mask=inside, other=0.0).to(tl.float32))
    of_h = tl.load(of_last_ptr + row * size + place, mask=inside, other=0.0).to(tl.float32)
    of_rate = tl.zeros([CHANNELS, STATES], tl.float32)
    for done in range(0, pieces):
        piece = pieces - 1 - done
        first = piece * KEPT
        count = tl.minimum(KEPT, tokens - first)
        h = tl.load(kept_ptr + (row * pieces + piece) * size + place, mask=inside, other=0.0)
        for i in range(0, count):
            tl.store(again_ptr + i * (CHANNELS * STATES) + within, h)
            x, step, write, goes_on = _token(
                x_ptr, step_ptr, write_ptr, goes_on_ptr, row * tokens + first + i, channel, channels, state, states
            )
            h = tl.exp(step[:, None] * rate) * goes_on * h + (step * x)[:, None] * write[None, :]
        tl.debug_barrier()
        for back in range(0, count):
            i = count - 1 - back
            token = row * tokens + first + i
            x, step, write, goes_on = _token(
                x_ptr, step_ptr, write_ptr, goes_on_ptr, token, channel, channels, state, states
            )
            read = tl.load(read_ptr + token * states + state, mask=real, other=0.0).to(tl.float32)
            of_y = tl.load(of_y_ptr + token * channels + channel, mask=own, other=0.0).to(tl.float32)
            h = tl.load(again_ptr + i * (CHANNELS * STATES) + within)
            a = tl.exp(step[:, None] * rate) * goes_on
            after = a * h + (step * x)[:, None] * write[None, :]
            of_h += of_y[:, None] * read[None, :]
            of_input = tl.sum(of_h * write[None, :], 1)
            of_power = of_h * h * a
            of_step = of_input * x + tl.sum(of_power * rate, 1)
            of_rate += of_power * step[:, None]
            at = token * channels + channel
            tl.store(of_x_ptr + at, (of_input * step).to(of_x_ptr.dtype.element_ty), mask=own)
            tl.store(of_step_ptr + at, of_step.to(of_step_ptr.dtype.element_ty), mask=own)
            at = ((row * blocks + block) * tokens + first + i) * states + state
            tl.store(of_write_ptr + at, tl.sum(of_h * (step * x)[:, None], 0), mask=real)
            tl.store(of_read_ptr + at, tl.sum(of_y[:, None] * after, 0), mask=real)
            of_h *= a
        tl.debug_barrier()
    tl.store(of_decay_ptr + row * size + place, of_rate * rate, mask=inside)
    tl.store(of_before_ptr + row * size + place, of_h.to(of_before_ptr.dtype.element_ty), mask=inside)


def forward(
    x: Tensor, step: Tensor, write: Tensor, read: Tensor, decay: Tensor, goes_on: Tensor, before: Tensor, learns: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """y, the last state, and the kept states (B, pieces, E, N); all contiguous."""
    rows, tokens, channels = x.shape
    pieces, y, last = -(-tokens // KEPT), torch.empty_like(x), torch.empty_like(before)
    kept = torch.empty((rows, pieces if learns else 0, *decay.shape), dtype=torch.float32, device=x.device)
    programs: Any = _forward[rows, -(-channels // CHANNELS)]
    programs(
        x, step, write, read, decay, goes_on.to(torch.uint8), before, y, last, kept, tokens, channels, decay.shape[1],
        pieces, LEARNS=learns, KEPT=KEPT, CHANNELS=CHANNELS, STATES=_power(decay.shape[1]), num_warps=1,
    )  # fmt: skip
    return y, last, kept


def backward(
    x: Tensor, step: Tensor, write: Tensor, read: Tensor, decay: Tensor, goes_on: Tensor, before: Tensor, kept: Tensor,
    of_y: Tensor, of_last: Tensor,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Gradients of the seven tensors in the order of `forward`; goes_on has none."""
    (rows, tokens, channels), (_, states) = x.shape, decay.shape
    blocks, wide = -(-channels // CHANNELS), _power(states)
    partial = lambda *shape: torch.empty(shape, dtype=torch.float32, device=x.device)  # noqa: E731
    of_x, of_step, of_before = torch.empty_like(x), torch.empty_like(step), torch.empty_like(before)
    of_write, of_read = (partial(rows, blocks, tokens, states) for _ in range(2))
    of_decay, again = partial(rows, channels, states), partial(rows, blocks, KEPT, CHANNELS, wide)
    programs: Any = _backward[rows, blocks]
    programs(
        x, step, write, read, decay, goes_on.to(torch.uint8), kept, of_y, of_last, of_x, of_step, of_write, of_read,
        of_decay, of_before, again, tokens, channels, states, kept.shape[1], KEPT=KEPT, CHANNELS=CHANNELS, STATES=wide,
        num_warps=1,
    )  # fmt: skip
    sums = of_write.sum(1).to(write.dtype), of_read.sum(1).to(read.dtype), of_decay.sum(0).to(decay.dtype)
    return of_x, of_step, *sums, None, of_before


def _power(size: int) -> int:
    return 1 << (size - 1).bit_length()
