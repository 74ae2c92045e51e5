"""Where a number that is not finite comes from: which weights, which module, which batch, on which rank."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from models.nets.transformer import Transformer
from models.training.losses import Loss
from models.training.muon import named
from models.training.ranks import World, own_part, told


def culprits(model: Transformer, loss: Callable[[Transformer, Any], Loss], batch: Any, said: str, world: World) -> str:
    """Weights whose gradient is not finite, the first module whose output is not, and the batch, in words.

    The loss is taken again without gradients, by all ranks together. Of several ranks only those with a bad output
    are named: gradients are the mean over all ranks, so they are bad on every one.
    """
    gradients = [(name, weight.grad) for name, weight in model.named_parameters() if weight.grad is not None]
    bad = [name for name, gradient in gradients if not own_part(gradient).isfinite().all()]
    found = told(world, {"gradients": bad, "output": _first_output(model, loss, batch), "batch": said})
    if world.size == 1:
        return f"{_gradients(bad)}, {_output(found[0]['output'])}; the batch: {said}"
    everywhere = list(dict.fromkeys(name for one in found for name in one["gradients"]))
    where = [
        f"rank {rank}: {_output(one['output'])}, its batch: {one['batch']}"
        for rank, one in enumerate(found)
        if one["output"] is not None
    ]
    return "; ".join([_gradients(everywhere), *(where or ["outputs of all modules finite on every rank"])])


def _first_output(model: Transformer, loss: Callable[[Transformer, Any], Loss], batch: Any) -> str | None:
    """The name of the first module whose output is not finite."""
    first: list[str] = []

    def look(name: str, output: Any) -> None:
        if not first and isinstance(output, Tensor) and not own_part(output).isfinite().all():
            first.append(name)

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: look(name, output))
        for name, module in model.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            loss(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return first[0] if first else None


def _gradients(bad: list[str]) -> str:
    return f"gradient not finite in {named(bad)}" if bad else "all gradients finite"


def _output(first: str | None) -> str:
    return f"output of {first} not finite" if first else "outputs of all modules finite"
