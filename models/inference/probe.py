"""What a model expects at every position of a text: the next-token distribution, its entropy, the loss of what came."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.config import InputError
from models.inference.stream import NonFiniteLogits
from models.nets.transformer import Transformer

LOGITS_AT_ONCE = 1 << 23  # entries of float64 logits: 64 MiB


@dataclass(frozen=True)
class Expectation:
    """The distribution of the token at one place, given all before it, and how the token that stands there fared.

    loss_bits and rank are None at the place after the last token, where nothing stands yet. rank 1 is the likeliest
    token; of equally likely ones all have the best rank.
    """

    entropy_bits: float  # of the whole distribution
    top: list[tuple[int, float]]  # the likeliest ids with their probabilities; of equals, lower ids first
    loss_bits: float | None = None  # -log2 of the probability of the token that stands there
    rank: int | None = None


@torch.inference_mode()
def expectations(
    model: Transformer, ids: Sequence[int], top_k: int = 10, places: Collection[int] | None = None
) -> list[Expectation]:
    """One for each place 1 … len(ids): the i-th is about ids[i], the last about what would come next.

    The first id is given, not predicted. `top` is filled at `places` alone (counted as in ids); None: everywhere.
    Probabilities are the softmax, at temperature 1, of the logits of one pass over all ids. Raises InputError when ids
    are none, too many, or outside the vocabulary, NonFiniteLogits.
    """
    limit, entries = model.config.max_seq_len, model.config.vocab_size
    if not 0 < len(ids) <= limit:
        raise InputError(f"{len(ids)} tokens cannot be read at once; the model takes 1 to {limit}")
    if wrong := [index for index in ids if not 0 <= index < entries]:
        raise InputError(f"token id {wrong[0]} is outside the model's vocabulary of {entries}")
    ids_T = torch.tensor(ids, device=model.embedding.weight.device)
    found: list[Expectation] = []
    for first, logprobs_TV in _logprobs(model, ids_T):
        entropies_T = -(logprobs_TV.exp() * logprobs_TV).sum(-1) / math.log(2)
        targets_T = ids_T[first + 1 : first + 1 + len(logprobs_TV)]
        own_T = logprobs_TV[: len(targets_T)].gather(-1, targets_T[:, None])
        ranks_T = (logprobs_TV[: len(targets_T)] > own_T).sum(-1) + 1
        losses_T = -own_T[:, 0] / math.log(2)
        for row in range(len(logprobs_TV)):
            here = first + 1 + row
            top = likeliest(logprobs_TV[row], top_k) if places is None or here in places else []
            known = here < len(ids)
            found.append(
                Expectation(
                    entropy_bits=max(0.0, float(entropies_T[row])),
                    top=top,
                    loss_bits=max(0.0, float(losses_T[row])) if known else None,
                    rank=int(ranks_T[row]) if known else None,
                )
            )
    return found


def likeliest(logprobs_V: Tensor, top_k: int) -> list[tuple[int, float]]:
    """The top_k likeliest ids with their probabilities, likeliest first; of equals, lower ids first."""
    order = logprobs_V.sort(descending=True, stable=True).indices[:top_k]
    return list(zip(order.tolist(), logprobs_V[order].exp().tolist(), strict=True))


def _logprobs(model: Transformer, ids_T: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Log-probabilities (T, V), float64, of what follows each token, some positions at a time, with the first one."""
    hidden_TD = model.hidden(ids_T[None])[0]
    at_once = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for first in range(0, len(ids_T), at_once):
        logits_TV = model.logits(hidden_TD[first : first + at_once]).double()
        if not torch.isfinite(logits_TV).all():
            raise NonFiniteLogits("the model's logits are not finite: its weights cannot be used")
        yield first, logits_TV.log_softmax(-1)
