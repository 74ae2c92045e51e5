"""One completion, a token at a time: what `generate` draws for a batch of one, with a pause after every token.

Steps of several streams can be interleaved in any order: none sees another, so the same prompt, settings and seed give
the same tokens and log-probabilities whatever runs beside them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch

from models.config import InputError
from models.inference.sampler import check_settings, pick
from models.nets.transformer import KVCache, Transformer
from models.seeds import uniforms


class NonFiniteLogits(ArithmeticError):
    """The model's logits are not numbers: its weights are damaged, or its training diverged."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; each field as in `models.inference.sampler.generate`."""

    max_new_tokens: int = 128
    temperature: float = 0.8
    top_k: int = 0  # 0: all tokens
    top_p: float = 1.0  # 1: all tokens
    min_p: float = 0.0  # 0: all tokens
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self.max_new_tokens, self.temperature, self.top_k, self.top_p, self.min_p)


@dataclass(frozen=True)
class Drawn:
    """One token."""

    token: int
    logprob: float  # natural log-probability, full softmax at the sampling temperature
    stops: bool  # it is one of the stop ids
    top: list[tuple[int, float]] = field(default_factory=list)  # the likeliest ids and their log-probabilities


class Stream:
    """A completion under way. `left`: tokens that may still be drawn; 0 when it is over."""

    def __init__(
        self, model: Transformer, prompt: Sequence[int], sampling: Sampling, stop_ids: Collection[int]
    ) -> None:
        """Raises InputError on a prompt that is empty or leaves no room in the model's context."""
        if not 0 < len(prompt) < model.config.max_seq_len:
            raise InputError(f"the prompt has {len(prompt)} tokens; it must have 1 to {model.config.max_seq_len - 1}")
        self.model, self.sampling, self.stop_ids = model, sampling, frozenset(stop_ids)
        self.left = min(sampling.max_new_tokens, model.config.max_seq_len - len(prompt))
        device = model.embedding.weight.device
        self._inputs = torch.tensor([list(prompt)], device=device)
        starts = torch.zeros(1, dtype=torch.int64, device=device)
        self._cache = KVCache(model.config, starts, len(prompt) + self.left, model.embedding.weight.dtype)
        self._uniforms = torch.from_numpy(uniforms([sampling.seed], self.left)).to(device)
        self._drawn = 0

    @torch.inference_mode()
    def step(self, top: int = 0) -> Drawn:
        """Draws the next token; the first call reads the prompt. top: how many of the likeliest are told.

        Raises NonFiniteLogits.
        """
        if self.left == 0:
            raise InputError("the stream is over")
        wanted = self.sampling
        logits_BV = self.model.logits(self.model.hidden(self._inputs, cache=self._cache)[:, -1])
        if not torch.isfinite(logits_BV).all():
            raise NonFiniteLogits("the model's logits are not finite: its weights cannot be used")
        uniform_B = self._uniforms[:, self._drawn]
        picked_B, logprob_B = pick(logits_BV, uniform_B, wanted.temperature, wanted.top_k, wanted.top_p, wanted.min_p)
        self._inputs, token = picked_B[:, None], int(picked_B)
        self._drawn += 1
        stops = token in self.stop_ids
        self.left = 0 if stops else self.left - 1
        return Drawn(token, float(logprob_B), stops, self._likeliest(logits_BV[0], top))

    def _likeliest(self, logits_V: torch.Tensor, top: int) -> list[tuple[int, float]]:
        """The likeliest ids with their log-probabilities at the sampling temperature; of equals, lower ids first."""
        if not top:
            return []
        logprobs_V = (logits_V.double() / (self.sampling.temperature or 1.0)).log_softmax(-1)
        order = logprobs_V.sort(descending=True, stable=True).indices[:top]
        return list(zip(order.tolist(), logprobs_V[order].tolist(), strict=True))
