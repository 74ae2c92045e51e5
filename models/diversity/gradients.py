"""Gradient features: the direction in which each instruction example would pull the proxy model, projected.

g(x) = gradient of the mean cross-entropy over the completion tokens of x (the assistant's text and <|im_end|>; the
prompt gets no loss) with respect to all parameters of the base model, one example at a time, float32 throughout (a
float16 cast can underflow before normalisation). Then projected by models/diversity/projection.py. An example's
features are a function of the model, the example, the seed and the dimension: never of the other examples, their
order or the shards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.diversity.projection import ROWS_PER_BATCH, project
from models.nets.transformer import Transformer

NO_COMPLETION = "no completion token to learn from"
TOO_LONG = "longer than the model's context"


@dataclass(frozen=True)
class Example:
    """A rendered conversation. `loss_mask[t]` says that token t is a target (models/data/chat.py)."""

    identity: str
    ids: list[int]
    loss_mask: list[bool]


def unusable(example: Example, max_seq_len: int) -> str | None:
    """Why an example can have no gradient features, or None if it can."""
    if not any(example.loss_mask[1:]):
        return NO_COMPLETION
    return TOO_LONG if _used(example) - 1 > max_seq_len else None


def completion_loss(model: Transformer, example: Example) -> Tensor:
    """Mean cross-entropy (nats) over the example's completion tokens; a scalar with a graph."""
    end = _used(example)
    ids_T = torch.tensor(example.ids[:end], device=model.embedding.weight.device)
    targets = torch.tensor([t for t in range(1, end) if example.loss_mask[t]], device=ids_T.device)
    hidden_TD = model.hidden(ids_T[None, :-1])[0]
    return F.cross_entropy(model.logits(hidden_TD[targets - 1]), ids_T[targets])


def example_gradient(model: Transformer, example: Example) -> Tensor:
    """The flat gradient (parameters,) float32 of completion_loss, in the order of model.parameters()."""
    flat = torch.empty(sum(parameter.numel() for parameter in model.parameters()))
    _write_gradient(model, example, flat)
    return flat


def gradient_features(
    model: Transformer,
    examples: Sequence[Example],
    dim: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Projected gradients (examples, dim) float32. `progress` hears the number of examples done after each batch.

    Every example must be usable (see `unusable`).
    """
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    features = np.empty((len(examples), dim), dtype=np.float32)
    batch = torch.empty((ROWS_PER_BATCH, n_parameters))
    for first in range(0, len(examples), ROWS_PER_BATCH):
        rows = examples[first : first + ROWS_PER_BATCH]
        for row, example in enumerate(rows):
            _write_gradient(model, example, batch[row])
        features[first : first + len(rows)] = project(batch[: len(rows)].numpy(), dim, seed)
        progress(first + len(rows))
    return features


def _write_gradient(model: Transformer, example: Example, flat: Tensor) -> None:
    start = 0
    for gradient in torch.autograd.grad(completion_loss(model, example), list(model.parameters())):
        flat[start : start + gradient.numel()] = gradient.reshape(-1)
        start += gradient.numel()


def _used(example: Example) -> int:
    """Tokens up to and including the last target: what follows it changes nothing."""
    return max((t for t, produced in enumerate(example.loss_mask) if produced), default=0) + 1
