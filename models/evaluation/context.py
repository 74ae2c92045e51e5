"""What a model makes of its context: bits per byte by place in it, and recall of pairs that it has just been shown.

By place: the same documents at every place, each read from its beginning, so that late tokens differ from early ones in
what precedes them. Late text may be easier or harder by itself too, so the gain is counted in what the model saves over
a predictor that knows token frequencies alone: how much more it saves late than early is what context gave it.

Recall: c cues, each followed by an answer of its own, all random tokens, shown `shots` times in random order; then one
cue again. Which of the c answers is likeliest? Whoever ignores the context is right once in c, whatever it prefers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from models.data.tokenizer import SPECIAL_TOKENS
from models.evaluation.intervals import Estimate, bootstrap_ratio, wilson
from models.evaluation.scoring import Scored
from models.seeds import derive

PAIRS = 4
FIRST, EARLY, BETWEEN = 1, 8, 32  # tokens at which the ranges of places begin, each four times the one before from here


@dataclass(frozen=True)
class Place:
    """Tokens first to last of a document, counted from 1 for the first that is predicted."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"tokens {self.first} to {self.last}"


def places(context: int) -> list[Place]:
    """Ranges that cover tokens 1 to context; the last is not shorter than all before it together."""
    edges = [FIRST, EARLY]
    while edges[-1] * 8 <= context:
        edges.append(edges[-1] * 4)
    return [Place(a, b - 1) for a, b in zip(edges, [*edges[1:], context + 1], strict=True) if a < b]


def by_place(windows: Sequence[Scored], context: int) -> dict[Place, Estimate]:
    """Bits per byte at each range of places, over windows that are `context` tokens long each."""
    return {place: bootstrap_ratio(*_sums(windows, place)) for place in places(context)}


def gain(windows: Sequence[Scored], flat: Sequence[Scored], context: int, seed: int = 0) -> Estimate:
    """Bits per byte saved over the unigram predictor by the last half of the places, minus those saved by early ones (8
    to 31), paired by document, bootstrap over them. flat: the same windows as the unigram predictor scores them."""
    early, late = Place(EARLY, BETWEEN - 1), Place(context // 2, context)
    sums = {place: (np.array(_sums(flat, place)), np.array(_sums(windows, place))) for place in (early, late)}

    def saved(place: Place, drawn: np.ndarray) -> np.ndarray:
        (without, size), (bits, _) = sums[place]
        return (without[drawn] - bits[drawn]).sum(-1) / size[drawn].sum(-1)

    drawn = np.random.default_rng(seed).integers(0, len(windows), size=(1000, len(windows)))
    low, high = np.quantile(saved(late, drawn) - saved(early, drawn), [0.025, 0.975])
    every = np.arange(len(windows))
    return Estimate(float(saved(late, every) - saved(early, every)), float(low), float(high), len(windows))


def _sums(windows: Sequence[Scored], place: Place) -> tuple[list[float], list[float]]:
    """Bits and bytes of each window's tokens there."""
    part = slice(place.first - 1, place.last)
    bits = [float(one.nats_T[part].sum() / np.log(2)) for one in windows]
    return bits, [float(one.bytes_T[part].sum()) for one in windows]


def recall_probe(vocab_size: int, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """One probe: tokens (the begin token first, the asked cue last), the candidates, which of them is right."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(np.arange(len(SPECIAL_TOKENS), vocab_size), size=2 * PAIRS, replace=False)
    cues, answers = chosen[:PAIRS], chosen[PAIRS:]
    shown = [
        token
        for _ in range(shots)
        for pair in rng.permutation(PAIRS)
        for token in (int(cues[pair]), int(answers[pair]))
    ]
    asked = int(rng.integers(PAIRS))
    return np.array([0, *shown, int(cues[asked])], dtype=np.int64), answers, asked


@torch.inference_mode()
def recall(model: nn.Module, vocab_size: int, shots: int, probes: int, seed: int) -> Estimate:
    """Share of probes in which the right answer is the likeliest of the candidates; chance is 1 / PAIRS."""
    made = [recall_probe(vocab_size, shots, derive(seed, "recall", shots, i)) for i in range(probes)]
    device = next(model.parameters()).device
    logits_BV = model(torch.from_numpy(np.stack([ids for ids, _, _ in made])).to(device))[:, -1].float().cpu().numpy()
    right = sum(
        int(logits_V[answers].argmax()) == asked for logits_V, (_, answers, asked) in zip(logits_BV, made, strict=True)
    )
    return wilson(right, probes)
