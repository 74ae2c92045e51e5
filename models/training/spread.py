"""One model on several ranks: every rank takes its rows of the batch, and gradients are those of the global mean.

`ddp`: each rank holds the whole model. `fsdp`: each holds a share of every weight, its gradient and its moments
(FSDP2), and gathers a block's weights for as long as it computes with them. Either way a rank's loss is the mean over
its own targets, which can be more or fewer than another's, so it is weighted by its share before ranks are averaged.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from models.config import InputError
from models.nets.transformer import Transformer
from models.training.losses import Loss
from models.training.ranks import World, own_part, whole_part

Parallel = Literal["ddp", "fsdp"]
LossOf = Callable[[Transformer, Any], Loss]


def prepare(model: Transformer, *, activation_checkpointing: bool = False, compiled: bool = False) -> None:
    """Change how the blocks compute, in place, not what: before `spread`.

    activation_checkpointing: a block's inner activations are computed again in the backward pass instead of kept; the
    same numbers. compiled: by torch.compile, whose sums may round otherwise.
    """
    for block in model.blocks:
        if activation_checkpointing:
            block.forward = partial(_recomputed, block.forward)
        if compiled:
            block.compile()


class Spread:
    """A loss function over all ranks: value and metrics of its answers average over ranks to those of the global batch.

    Called with the model that it was made with.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, _model: Transformer, batch: Any) -> Loss:
        value, result = self.module(batch)
        return replace(result, value=value)


def spread(model: Transformer, loss: LossOf, world: World, parallel: Parallel = "ddp") -> LossOf:
    """The loss function to train `model` with on these ranks; alone, the one given. Before the optimizer is made.

    Every rank must hold the same weights. Raises InputError.
    """
    if parallel not in ("ddp", "fsdp"):
        raise InputError(f"parallel must be ddp or fsdp, got {parallel!r}")
    if world.size == 1:
        return loss
    task = _Task(model, loss, world)
    if parallel == "ddp":
        # with this the buckets never change: a run that goes on adds up in the order of one that was never stopped
        warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
        wrapped = DistributedDataParallel(task, find_unused_parameters=True, gradient_as_bucket_view=True)
        return Spread(wrapped)
    mesh = init_device_mesh(model.embedding.weight.device.type, (world.size,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(task, mesh=mesh)
    return Spread(task)


def whole(model: Transformer, world: World) -> Transformer:
    """A model with all weights here: the very one unless it is sharded, else a copy. All ranks must ask.

    Only rank 0 gets the weights; what the others get must not be used.
    """
    parameters = dict(model.named_parameters())
    if not any(isinstance(weight, DTensor) for weight in parameters.values()):
        return model
    places, copy = {}, model
    if world.leads:
        with torch.random.fork_rng(devices=[]):  # torch's layers draw weights before they are given theirs
            copy = Transformer(model.config).to(model.embedding.weight.device).train(model.training)
        places = dict(copy.named_parameters())
    with torch.no_grad():
        for name, weight in parameters.items():
            found = whole_part(weight.detach())
            if places:
                places[name].copy_(found)
    return copy


def gradient_norm(gradients: list[Tensor]) -> Tensor:
    """The global L2 norm; of sharded gradients over all their parts, the same on every rank."""
    if not any(isinstance(one, DTensor) for one in gradients):
        return torch.nn.utils.get_total_norm(gradients)
    squared = torch.nn.utils.get_total_norm([own_part(one) for one in gradients]).square()
    dist.all_reduce(squared)
    return squared.sqrt()


def clip(parameters: list[nn.Parameter], limit: float, norm: Tensor) -> None:
    """Scale gradients in place so that their norm, which is given, is `limit` at most."""
    if not any(isinstance(weight, DTensor) for weight in parameters):
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        return
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)  # as torch does it for whole gradients
    for weight in parameters:
        if weight.grad is not None:
            own_part(weight.grad).mul_(factor)


class _Task(nn.Module):
    """What is wrapped: a module whose forward is the whole loss, so that all weights are used inside of it."""

    def __init__(self, model: Transformer, loss: LossOf, world: World) -> None:
        super().__init__()
        self.model, self.loss, self.world = model, loss, world

    def forward(self, batch: Any) -> tuple[Tensor, Loss]:
        """This rank's loss, weighted so that the mean over ranks is the global mean, and its figures likewise."""
        found = self.loss(self.model, batch)
        if found.targets is None:
            return found.value, replace(found, value=found.value.detach())
        own = torch.as_tensor(found.targets, device=found.value.device).to(torch.float64)
        total = own.clone()
        dist.all_reduce(total)
        share = (own * self.world.size / total.clamp(min=1)).to(found.value.dtype)
        metrics = {name: value * share for name, value in found.metrics.items()}
        return found.value * share, replace(found, value=found.value.detach(), metrics=metrics)


def _recomputed(forward: Callable[..., Tensor], *given: Any, **named: Any) -> Tensor:
    if not torch.is_grad_enabled():
        return forward(*given, **named)
    return checkpoint(forward, *given, use_reentrant=False, preserve_rng_state=False, **named)  # type: ignore[return-value]
