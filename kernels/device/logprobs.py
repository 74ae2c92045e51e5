"""The linear log-prob primitive: log p of chosen tokens, log-sum-exp and entropy, without the N x V logits.

    linear_logprobs   statistics with gradient for any loss on top of them; logits are made twice, a chunk at a time
    linear_loss       a sum over tokens whose gradient is taken while the chunk's logits are there; made once

Both walk over chunks of rows: one product with the head, one pass for the statistics, one that turns the logits into
their gradient in place, two products back. At most one chunk of logits exists. The passes are torch's on any device,
and Triton's (kernels/device/logprobs_triton.py) on CUDA. Chunks depend on shapes alone, so sums repeat to the bit.
float32 accumulates the gradient of the head; half precision is upcast right after it is read.
Sources: chunks as in Liger (arXiv 2410.10989); the gradient of the entropy is -p (log p + H).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from kernels.device.logprobs_reference import IGNORED, TokenStats, as_columns, capped

CHUNK_BYTES = {"cuda": 256 << 20, "cpu": 32 << 20}  # of logits alive at once; on the CPU about its last-level cache
CACHE_BYTES = 512 << 10  # of float32 logits that the statistics look at together on the CPU
Passes = Literal["torch", "triton"]
TokenLoss = Callable[[TokenStats, slice], Tensor]  # the summed loss of those rows, a scalar


class UnusableShapes(ValueError):
    """Tensors that do not belong together; the message names their shapes."""


@dataclass(frozen=True)
class Settings:
    """How the logits are read and made; equal for both functions."""

    ignore_index: int = IGNORED
    softcap: float = 0.0  # softcap * tanh(logits / softcap); 0 switches it off
    entropy: bool = True  # False: it is not computed and stands as 0, which saves passes on the CPU
    chunk_rows: int = 0  # rows of logits alive at once; 0: as many as CHUNK_BYTES hold
    passes: Passes | None = None  # None: triton on CUDA where it is installed, else torch


DEFAULT = Settings()


def linear_logprobs(hidden_ND: Tensor, weight_VD: Tensor, targets: Tensor, settings: Settings = DEFAULT) -> TokenStats:
    """Statistics of softmax(hidden @ weight.T) at integer targets (N) or (N, K); all three carry gradient.

    Under autocast both factors are cast as a linear layer's are. Raises UnusableShapes.
    """
    hidden_ND, weight_VD = _cast(hidden_ND, weight_VD)
    _check(hidden_ND, weight_VD, targets)
    targets_NK = as_columns(targets)
    with torch.autocast(hidden_ND.device.type, enabled=False):
        selected_NK, lse_N, entropy_N = _LinearLogprobs.apply(hidden_ND, weight_VD, targets_NK, settings)  # type: ignore[misc]
    return TokenStats(selected_NK.view(targets.shape), lse_N, entropy_N)


def linear_loss(
    hidden_ND: Tensor, weight_VD: Tensor, targets: Tensor, token_loss: TokenLoss, settings: Settings = DEFAULT
) -> tuple[Tensor, TokenStats]:
    """Sum over chunks of token_loss(stats of the chunk's rows, the rows), and the statistics of all rows, detached.

    token_loss must be a sum over tokens: what normalises it (a count, advantages) is known before. It is called once a
    chunk, and only then, so its own tensors get no gradient. A third fewer products than `linear_logprobs`.
    """
    hidden_ND, weight_VD = _cast(hidden_ND, weight_VD)
    _check(hidden_ND, weight_VD, targets)
    with torch.autocast(hidden_ND.device.type, enabled=False):
        total, *stats = _LinearLoss.apply(hidden_ND, weight_VD, targets, token_loss, settings)  # type: ignore[misc]
    return total, TokenStats(stats[0].view(targets.shape), *stats[1:])


class _LinearLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_NK: Tensor, settings: Settings) -> Any:
        rows_of = _passes(settings, hidden_ND)
        logits = _Logits(hidden_ND, weight_VD, settings)
        parts = [rows_of.statistics(logits.of(rows), targets_NK[rows], settings) for rows in logits.chunks]
        selected_NK, lse_N, entropy_N = (torch.cat(part) for part in zip(*parts, strict=True))
        ctx.save_for_backward(hidden_ND, weight_VD, targets_NK, lse_N, entropy_N)
        ctx.settings = settings
        return selected_NK, lse_N, entropy_N

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        hidden_ND, weight_VD, targets_NK, lse_N, entropy_N = ctx.saved_tensors
        settings, rows_of = ctx.settings, _passes(ctx.settings, hidden_ND)
        gradients = _Gradients(hidden_ND, weight_VD, ctx.needs_input_grad)
        logits = _Logits(hidden_ND, weight_VD, settings)
        for rows in logits.chunks:
            logits_CV = logits.of(rows)
            received = TokenStats(*(one[rows] for one in upstream))
            rows_of.gradient(logits_CV, targets_NK[rows], lse_N[rows], entropy_N[rows], received, settings)
            gradients.add(rows, logits_CV)
        return *gradients.both(), None, None


class _LinearLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets: Tensor, token_loss: TokenLoss, settings: Settings
    ) -> Any:
        targets_NK, rows_of = as_columns(targets), _passes(settings, hidden_ND)
        learns = any(ctx.needs_input_grad[:2])
        gradients = _Gradients(hidden_ND, weight_VD, ctx.needs_input_grad)
        parts, total = [], torch.zeros((), dtype=_wide(hidden_ND.dtype), device=hidden_ND.device)
        logits = _Logits(hidden_ND, weight_VD, settings)
        for rows in logits.chunks:
            logits_CV = logits.of(rows)
            stats = TokenStats(*rows_of.statistics(logits_CV, targets_NK[rows], settings))
            parts.append(stats)
            with torch.enable_grad():
                leaves = TokenStats(*(one.detach().requires_grad_(learns) for one in stats))
                shaped = leaves._replace(selected=leaves.selected.view(targets[rows].shape))
                value = token_loss(shaped, rows)
            total = total + value.detach()
            if learns:
                found = torch.autograd.grad(value, leaves, materialize_grads=True)
                received = TokenStats(*found)._replace(selected=found[0].view(targets_NK[rows].shape))
                rows_of.gradient(logits_CV, targets_NK[rows], stats.lse, stats.entropy, received, settings)
                gradients.add(rows, logits_CV)
        found = gradients.both()
        ctx.present = [one is not None for one in found]
        ctx.save_for_backward(*(one for one in found if one is not None))
        whole = tuple(torch.cat(part) for part in zip(*parts, strict=True))
        ctx.mark_non_differentiable(*whole)
        return total, *whole

    @staticmethod
    def backward(ctx: Any, of_total: Tensor, *_: Tensor) -> Any:
        saved = iter(ctx.saved_tensors)
        scaled = [next(saved) * of_total if present else None for present in ctx.present]
        return *scaled, None, None, None


class _Logits:
    """The rows' chunks, and the logits of one of them at a time, always in the same memory."""

    def __init__(self, hidden_ND: Tensor, weight_VD: Tensor, settings: Settings) -> None:
        self._hidden, self._weight = hidden_ND, weight_VD
        rows, columns = len(hidden_ND), len(weight_VD)
        budget = CHUNK_BYTES["cuda" if hidden_ND.is_cuda else "cpu"]
        size = min(settings.chunk_rows or max(1, budget // (columns * hidden_ND.element_size())), max(1, rows))
        self.chunks = [slice(first, min(first + size, rows)) for first in range(0, max(1, rows), size)]
        self._memory = torch.empty(size, columns, dtype=hidden_ND.dtype, device=hidden_ND.device)

    def of(self, rows: slice) -> Tensor:
        """(C, V); the chunk before is overwritten."""
        return torch.mm(self._hidden[rows], self._weight.T, out=self._memory[: rows.stop - rows.start])


class _Gradients:
    """Gradients of both factors, built up from the gradients of chunks of logits."""

    def __init__(self, hidden_ND: Tensor, weight_VD: Tensor, needed: tuple[bool, ...]) -> None:
        self._hidden, self._weight = hidden_ND, weight_VD
        like = {"dtype": hidden_ND.dtype, "device": hidden_ND.device}
        self._of_hidden = torch.empty(hidden_ND.shape, **like) if needed[0] else None
        wide = _wide(weight_VD.dtype)
        self._of_weight = torch.zeros(weight_VD.shape, dtype=wide, device=weight_VD.device) if needed[1] else None

    def add(self, rows: slice, of_logits_CV: Tensor) -> None:
        """The share of these rows, from the gradient of their logits."""
        if self._of_hidden is not None:
            torch.mm(of_logits_CV, self._weight, out=self._of_hidden[rows])
        if self._of_weight is not None and self._of_weight.dtype == of_logits_CV.dtype:
            self._of_weight.addmm_(of_logits_CV.T, self._hidden[rows])
        elif self._of_weight is not None:
            self._of_weight += of_logits_CV.T @ self._hidden[rows]

    def both(self) -> tuple[Tensor | None, Tensor | None]:
        """In the dtypes of the factors; None where it was not asked for."""
        return self._of_hidden, None if self._of_weight is None else self._of_weight.to(self._weight.dtype)


class _TorchPasses:
    """The two passes over a chunk of logits with torch's operations."""

    @staticmethod
    def statistics(logits_CV: Tensor, targets_CK: Tensor, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
        """selected (C, K), lse (C), entropy (C); the logits are left as they are."""
        if (block := _rows_in_cache(logits_CV)) < len(logits_CV):
            blocks = zip(logits_CV.split(block), targets_CK.split(block), strict=True)
            parts = [_TorchPasses.statistics(*one, settings) for one in blocks]
            selected_CK, lse_C, entropy_C = (torch.cat(part) for part in zip(*parts, strict=True))
            return selected_CK, lse_C, entropy_C
        wide_CV = capped(logits_CV.to(_wide(logits_CV.dtype)), settings.softcap)
        lse_C = wide_CV.logsumexp(-1)
        real_CK = targets_CK != settings.ignore_index
        chosen_CK = wide_CV.gather(-1, targets_CK.where(real_CK, 0)) - lse_C[:, None]
        entropy_C = torch.zeros_like(lse_C)
        if settings.entropy:
            p_CV = wide_CV - lse_C[:, None]
            entropy_C = lse_C - torch.linalg.vecdot(p_CV.exp_(), wide_CV)
        return chosen_CK * real_CK, lse_C, entropy_C

    @staticmethod
    def gradient(
        logits_CV: Tensor,
        targets_CK: Tensor,
        lse_C: Tensor,
        entropy_C: Tensor,
        upstream: TokenStats,
        settings: Settings,
    ) -> None:
        """Overwrites the logits with their gradient; `upstream` are the gradients of the three statistics."""
        wide = _wide(logits_CV.dtype)
        raw_CV = logits_CV.to(wide)  # the logits themselves when they are wide already
        capped_CV = capped(raw_CV, settings.softcap) if settings.softcap else raw_CV
        slope_CV = 1 - (capped_CV / settings.softcap).square() if settings.softcap else None
        real_CK = targets_CK != settings.ignore_index
        chosen_CK = upstream.selected * real_CK
        of_all_C = upstream.lse - chosen_CK.sum(-1)
        if settings.entropy:
            log_p_CV = capped_CV - lse_C[:, None]
            out_CV = log_p_CV.exp()
            log_p_CV.add_(entropy_C[:, None]).mul_(-upstream.entropy[:, None]).add_(of_all_C[:, None])
            out_CV.mul_(log_p_CV)
        else:
            out_CV = capped_CV.sub_(lse_C[:, None]).exp_().mul_(of_all_C[:, None])
        out_CV.scatter_add_(-1, targets_CK.where(real_CK, 0), chosen_CK.to(wide))
        if slope_CV is not None:
            out_CV.mul_(slope_CV)
        if out_CV.data_ptr() != logits_CV.data_ptr():
            logits_CV.copy_(out_CV)


@lru_cache
def has_triton() -> bool:
    """Whether triton can be imported here."""
    return find_spec("triton") is not None


def _passes(settings: Settings, hidden_ND: Tensor) -> Any:
    chosen = settings.passes or ("triton" if hidden_ND.is_cuda and has_triton() else "torch")
    if chosen == "torch":
        return _TorchPasses
    from kernels.device import logprobs_triton

    return logprobs_triton


def _rows_in_cache(logits_CV: Tensor) -> int:
    """Rows whose temporaries a CPU core's own cache holds (torch's logsumexp is three times faster there); else all."""
    return len(logits_CV) if logits_CV.is_cuda else max(1, CACHE_BYTES // (logits_CV.shape[1] * 4))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _cast(hidden_ND: Tensor, weight_VD: Tensor) -> tuple[Tensor, Tensor]:
    kind = hidden_ND.device.type
    if not torch.is_autocast_enabled(kind):
        return hidden_ND, weight_VD
    dtype = torch.get_autocast_dtype(kind)
    return hidden_ND.to(dtype), weight_VD.to(dtype)


def _check(hidden_ND: Tensor, weight_VD: Tensor, targets: Tensor) -> None:
    shapes = f"hidden {tuple(hidden_ND.shape)}, weight {tuple(weight_VD.shape)}, targets {tuple(targets.shape)}"
    fits = hidden_ND.ndim == weight_VD.ndim == 2 and hidden_ND.shape[1] == weight_VD.shape[1]
    if not fits or targets.ndim not in (1, 2) or len(targets) != len(hidden_ND):
        raise UnusableShapes(f"need hidden (N, D), weight (V, D), targets (N) or (N, K); got {shapes}")
    if hidden_ND.dtype != weight_VD.dtype or targets.dtype != torch.int64:
        raise UnusableShapes(
            f"hidden and weight must have one dtype and targets int64; got {hidden_ND.dtype}, {weight_VD.dtype}, "
            f"{targets.dtype}: cast one of them"
        )
