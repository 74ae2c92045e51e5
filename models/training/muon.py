"""Muon for the matrices of the blocks, AdamW for embedding, head and norms: one optimizer whose step is all or nothing.

Muon (Jordan et al. 2024): Nesterov momentum, then the nearest orthogonal matrix of the update in place of the update
itself. That matrix comes from Polar Express (arXiv 2505.16932): five odd polynomials, each the best one for where the
singular values can lie by then. Matrices of one shape go through it together, in one batched product. q, k and v, and
gate and up, are matrices of their own though they lie in one weight.

Of weights that FSDP2 shards, moments and changes are sharded likewise. An update is put together from all ranks, one of
them makes it orthogonal, and each takes its rows of the result: as many weights at a time as there are ranks.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from models.nets.transformer import Transformer
from models.training.optim import NonFiniteTraining
from models.training.ranks import World, like, own_part, whole_part

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
        sound = torch.stack([_finite(change, *moments.values()) for _, _, change, moments in changes]).int()
        if isinstance(changes[0][1], DTensor):  # each rank has seen its own rows
            dist.all_reduce(sound, dist.ReduceOp.MIN)
        if not bool(sound.all()):
            bad = [name for (name, *_), good in zip(changes, sound.tolist(), strict=True) if not good]
            raise NonFiniteTraining(f"the optimizer's change of {named(bad)} is not finite; weights are untouched")
        for _, weight, change, moments in changes:
            own_part(weight).add_(change.to(weight.dtype))
            kept = {key: like(weight, value) if value.ndim else value for key, value in moments.items()}
            self.state[weight].update(kept)

    def _muon(self, group: dict[str, Any]) -> Iterator[tuple[str, Tensor, Tensor, dict[str, Tensor]]]:
        momentum, rate = group["momentum"], group["lr"]
        held = [one for one in _members(group) if one[1].grad is not None]
        moved, updates = [], []
        for _, weight, parts in held:
            gradient, before = own_part(weight.grad), self.state[weight].get("momentum")  # type: ignore[arg-type]
            moved.append(gradient * (1 - momentum) if before is None else own_part(before).lerp(gradient, 1 - momentum))
            updates.append(_Update(weight, parts, gradient.lerp(moved[-1], momentum)))
        sharded = bool(held) and isinstance(held[0][1], DTensor)
        changes = _of_shards(updates, -rate) if sharded else _of_wholes(updates, -rate)
        for (name, weight, _), change, after in zip(held, changes, moved, strict=True):
            yield name, weight, change - rate * group["weight_decay"] * own_part(weight), {"momentum": after}

    def _adamw(self, group: dict[str, Any]) -> Iterator[tuple[str, Tensor, Tensor, dict[str, Tensor]]]:
        (beta1, beta2), rate = group["betas"], group["lr"]
        for name, weight, _ in _members(group):
            if weight.grad is None:
                continue
            gradient, own, state = own_part(weight.grad), own_part(weight), self.state[weight]
            step = state.get("step", torch.zeros(())) + 1
            first = own_part(state.get("exp_avg", torch.zeros_like(own))).lerp(gradient, 1 - beta1)
            second = own_part(state.get("exp_avg_sq", torch.zeros_like(own))).lerp(gradient.square(), 1 - beta2)
            size = (second / (1 - beta2 ** float(step))).sqrt() + group["eps"]
            change = first / (1 - beta1 ** float(step)) / size * -rate - rate * group["weight_decay"] * own
            yield name, weight, change, {"step": step, "exp_avg": first, "exp_avg_sq": second}


class _Update(NamedTuple):
    """What a weight would move by before it is made orthogonal."""

    weight: Tensor
    parts: list[int]  # rows of each matrix in it
    rows: Tensor  # of the update, those that lie here


def _stretched(shape: Sequence[int], rate: float) -> float:
    return rate * math.sqrt(max(1.0, shape[0] / shape[1]))


def _of_wholes(updates: list[_Update], rate: float) -> list[Tensor]:
    """Orthogonal matrices times their rates; all matrices of one shape in one product."""
    shapes = defaultdict(list)
    for index, (_, parts, update) in enumerate(updates):
        for place, piece in enumerate(update.split(parts)):
            shapes[piece.shape].append((index, place, piece))
    pieces: dict[tuple[int, int], Tensor] = {}
    for shape, same in shapes.items():
        found = orthogonalised(torch.stack([piece for *_, piece in same])) * _stretched(shape, rate)
        pieces |= {(index, place): one for (index, place, _), one in zip(same, found, strict=True)}
    return [torch.cat([pieces[i, place] for place in range(len(one.parts))]) for i, one in enumerate(updates)]


def _of_shards(updates: list[_Update], rate: float) -> list[Tensor]:
    """The same of sharded weights: this rank's rows. Every rank makes one weight of so many as there are ranks."""
    world, made = World(dist.get_rank(), dist.get_world_size()), []
    for first in range(0, len(updates), world.size):
        turns = updates[first : first + world.size]
        wholes = [whole_part(like(weight, rows)) for weight, _, rows in turns]
        for turn, (whole, (_, parts, _)) in enumerate(zip(wholes, turns, strict=True)):
            if turn == world.rank:
                whole.copy_(_of_wholes([_Update(whole, parts, whole)], rate)[0])
        for turn, whole in enumerate(wholes):
            dist.broadcast(whole, src=turn)
            made.append(whole[world.rows(len(whole))].clone())
    return made


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
