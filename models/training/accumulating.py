"""A batch in pieces, one after the other: the gradient of the whole batch in the memory of a piece."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from models.nets.transformer import Transformer
from models.training.losses import Loss
from models.training.ranks import World, gathered

Batch = TypeVar("Batch")


def in_pieces(
    loss: Callable[[Transformer, Batch], Loss], cut: Callable[[Batch], Sequence[tuple[Batch, int]]], world: World
) -> Callable[[Transformer, Batch], Loss]:
    """A loss function over the pieces of a batch, each with the targets that it has on this rank.

    All but the last piece are taken back at once: their gradients lie in the weights when it returns, so gradients must
    be clear before. Losses and figures are means over all targets of all ranks, as `loss` gives them for a piece.
    """

    def whole(model: Transformer, batch: Batch) -> Loss:
        pieces = cut(batch)
        everywhere = gathered(world, [float(targets) for _, targets in pieces])
        counts = [sum(one[place] for one in everywhere) for place in range(len(pieces))]
        total, found = max(sum(counts), 1.0), []
        for place, (piece, _) in enumerate(pieces):
            part = loss(model, piece)
            value = part.value * (counts[place] / total)
            if place + 1 < len(pieces) and torch.is_grad_enabled():
                value.backward()
                value = value.detach()
            found.append((value, part, counts[place] / total))
        names = found[0][1].metrics
        return Loss(
            torch.stack([value for value, *_ in found]).sum(),
            {name: sum(part.metrics[name] * share for _, part, share in found) for name in names},
            tokens=sum(part.tokens for _, part, _ in found),
            totals={name: sum(part.totals[name] for _, part, _ in found) for name in found[0][1].totals},
        )

    return whole
