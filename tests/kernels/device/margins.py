"""Buffers that lie between margins of NaN (of -77 where there is no NaN), so that a write beside them is seen."""

import math
from typing import Any

import torch
from torch import Tensor

MARGIN = 64


class Margins:
    """Every buffer that was made, with what lies around it."""

    def __init__(self) -> None:
        self.made: list[tuple[Tensor, int]] = []

    def buffer(self, shape: tuple[int, ...], **options: Any) -> Tensor:
        """Like torch.empty."""
        size = math.prod(shape)
        dtype = options.get("dtype") or torch.get_default_dtype()
        whole = torch.full((size + 2 * MARGIN,), poison(dtype), dtype=dtype, device=options.get("device"))
        self.made.append((whole, size))
        return whole[MARGIN : MARGIN + size].view(shape)

    def check(self, at_least: int) -> None:
        """Fails where a margin was written to, or fewer buffers were made."""
        assert len(self.made) >= at_least
        for whole, size in self.made:
            for margin in (whole[:MARGIN], whole[MARGIN + size :]):
                assert bool(margin.isnan().all() if whole.is_floating_point() else (margin == -77).all())


def poison(dtype: torch.dtype) -> float:
    return float("nan") if dtype.is_floating_point else -77


def with_margins(monkeypatch, module: Any) -> Margins:
    """From now on what a module's torch makes empty lies between margins."""
    margins = Margins()

    def empty(*shape: Any, **options: Any) -> Tensor:
        whole = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return margins.buffer(tuple(whole), **options)

    monkeypatch.setattr(module, "empty", empty)
    monkeypatch.setattr(
        module, "empty_like", lambda one: margins.buffer(tuple(one.shape), dtype=one.dtype, device=one.device)
    )
    return margins
