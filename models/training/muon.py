"""Muon for the matrices of the blocks, AdamW for embedding, head and norms: one optimizer whose step is all or nothing.

Muon (Jordan et al. 2024): Nesterov momentum, then the nearest orthogonal matrix of the update in place of the update
itself. That matrix comes from Polar Express (arXiv 2505.16932): five odd polynomials, each the best one for where the
singular values can lie by then. Matrices of one shape go through it together, in one batched product. q, k and v, and
gate and up, are matrices of their own though they lie in one weight.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from models.nets.transformer import Transformer
from models.training.optim import NonFiniteTraining

SAFETY = 1.01  # room for rounding: singular values are kept this far below where a polynomial would throw them out
# a x + b x^3 + c x^5 in turn, for singular values from 1e-3 to 1; tests/models/training/test_muon.py derives them
POLAR_EXPRESS = (
    (8.205739213104854, -22.906523197202628, 16.464665943692978),
    (4.066674590842473, -2.8617237560641895, 0.5185233012617243),
    (3.9098255740778534, -2.823898399047921, 0.5251616854731517),
    (3.2854218232640404, -2.4151980628822542, 0.4852825299868166),
    (2.3005275094388025, -1.6687922667959982, 0.4187952381302411),
)


def orthogonalised(stack_BMN: Tensor) -> Tensor:
    """Each matrix with its singular values moved to about 1 (0.88 to 1.12, from 1e-3 of its norm on).

    bfloat16 on CUDA, where the products are the cost and the spread of singular values dwarfs rounding; else float32.
    """
    x = stack_BMN.to(torch.bfloat16 if stack_BMN.is_cuda else torch.float32)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * SAFETY).clamp(min=1e-7)
    for a, b, c in POLAR_EXPRESS:
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(stack_BMN.dtype)


class MuonAdamW(torch.optim.Optimizer):
    """Learning rates are set before every step, `lr` times each group's `scale`; decay is decoupled.

    All changes are computed and looked at before the first weight or moment is touched: NonFiniteTraining names the
    weights whose change is NaN or infinite, and nothing has moved.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        """Each group: params, names, parts (rows of each matrix in a weight), kind, scale, weight_decay, its betas."""
        super().__init__(groups, {"lr": 0.0, "scale": 1.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update from the gradients; weights without one are left alone."""
        changes: list[tuple[str, Tensor, Tensor, dict[str, Tensor]]] = []
        for group in self.param_groups:
            changes += self._muon(group) if group["kind"] == "muon" else self._adamw(group)
        if not changes:
            return
        sound = torch.stack([_finite(change, *moments.values()) for _, _, change, moments in changes])
        if not bool(sound.all()):
            bad = [name for (name, *_), good in zip(changes, sound.tolist(), strict=True) if not good]
            raise NonFiniteTraining(f"the optimizer's change of {named(bad)} is not finite; weights are untouched")
        for _, weight, change, moments in changes:
            weight.add_(change.to(weight.dtype))
            self.state[weight].update(moments)

    def _muon(self, group: dict[str, Any]) -> Iterator[tuple[str, Tensor, Tensor, dict[str, Tensor]]]:
        momentum, rate, shapes = group["momentum"], group["lr"], defaultdict(list)
        held = [(*one, one[1].grad) for one in _members(group) if one[1].grad is not None]
        moved: dict[int, Tensor] = {}
        for index, (_, weight, parts, gradient) in enumerate(held):
            before = self.state[weight].get("momentum")
            moved[index] = gradient * (1 - momentum) if before is None else before.lerp(gradient, 1 - momentum)
            for place, piece in enumerate(gradient.lerp(moved[index], momentum).split(parts)):
                shapes[piece.shape].append((index, place, piece))
        pieces: dict[tuple[int, int], Tensor] = {}
        for (rows, columns), same in shapes.items():
            stretch = math.sqrt(max(1.0, rows / columns))
            whole = orthogonalised(torch.stack([piece for *_, piece in same])) * (-rate * stretch)
            pieces |= {(index, place): found for (index, place, _), found in zip(same, whole, strict=True)}
        for index, (name, weight, parts, _) in enumerate(held):
            change = torch.cat([pieces[index, place] for place in range(len(parts))])
            yield name, weight, change - rate * group["weight_decay"] * weight, {"momentum": moved[index]}

    def _adamw(self, group: dict[str, Any]) -> Iterator[tuple[str, Tensor, Tensor, dict[str, Tensor]]]:
        (beta1, beta2), rate = group["betas"], group["lr"]
        for name, weight, _, gradient in [(*one, one[1].grad) for one in _members(group)]:
            if gradient is None:
                continue
            state = self.state[weight]
            step = state.get("step", torch.zeros(())) + 1
            first = state.get("exp_avg", torch.zeros_like(weight)).lerp(gradient, 1 - beta1)
            second = state.get("exp_avg_sq", torch.zeros_like(weight)).lerp(gradient.square(), 1 - beta2)
            size = (second / (1 - beta2 ** float(step))).sqrt() + group["eps"]
            change = first / (1 - beta1 ** float(step)) / size * -rate - rate * group["weight_decay"] * weight
            yield name, weight, change, {"step": step, "exp_avg": first, "exp_avg_sq": second}


def muon_adamw(
    model: Transformer,
    *,
    learning_rate: float,
    muon_learning_rate: float,
    weight_decay: float,
    momentum: float = 0.95,
    beta1: float = 0.9,
    beta2: float = 0.95,
    eps: float = 1e-8,
) -> MuonAdamW:
    """Muon on every matrix of the blocks; AdamW on embedding, head (decayed, when it is no embedding) and norms.

    The schedule's peak is learning_rate, AdamW's; Muon's is that times muon_learning_rate / learning_rate, and a matrix
    of m rows and n columns takes sqrt(max(1, m / n)) of it.
    """
    adam = {"kind": "adamw", "betas": (beta1, beta2), "eps": eps, "scale": 1.0}
    groups: dict[str, dict[str, Any]] = {
        "matrices": {
            "kind": "muon",
            "scale": muon_learning_rate / learning_rate,
            "momentum": momentum,
            "weight_decay": weight_decay,
        },
        "head": {**adam, "weight_decay": weight_decay},
        "kept": {**adam, "weight_decay": 0.0},
    }
    for group in groups.values():
        group |= {"params": [], "names": [], "parts": []}
    for name, weight in model.named_parameters():
        kept = weight.ndim < 2 or name.startswith("embedding")
        group = groups["kept" if kept else "matrices" if name.startswith("blocks.") else "head"]
        group["params"].append(weight)
        group["names"].append(name)
        group["parts"].append(_matrices(name, weight, model))
    return MuonAdamW([group for group in groups.values() if group["params"]])


def named(names: list[str], shown: int = 3) -> str:
    """A few names and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def _finite(change: Tensor, *moments: Tensor) -> Tensor:
    """Whether all of them are finite, on the device of the change."""
    return torch.stack([one.isfinite().all().to(change.device) for one in (change, *moments)]).all()


def _matrices(name: str, weight: Tensor, model: Transformer) -> list[int]:
    """Rows of each matrix that lies in a weight."""
    config = model.config
    if name.endswith("attention.qkv.weight"):
        queries, keys = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        return [queries, keys, keys]
    if name.endswith("mlp.gate_up.weight"):
        return [config.d_ff, config.d_ff]
    return [len(weight)]


def _members(group: dict[str, Any]) -> list[tuple[str, Tensor, list[int]]]:
    return list(zip(group["names"], group["params"], group["parts"], strict=True))
