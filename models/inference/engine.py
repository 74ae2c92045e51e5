"""Many completions of one model at once: each step reads pieces of prompts and draws a token for every text under way.

Requests join and leave between steps. What a request draws, tokens and log-probabilities alike, is a function of the
weights, its prompt, its settings and its seed: every row of a step is computed by itself (kernels/decode/step.py), so
neither the requests beside it, nor how its prompt was cut into pieces, nor whether its beginning was already in the
cache changes a bit. Its random numbers are those of `generate` and `Stream`.
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels.decode.step import PAGE
from models.config import InputError
from models.inference import on_device, packed
from models.inference.on_device import OnDevice
from models.inference.packed import Packed, Rows, bytes_per_page
from models.inference.paged import Pages, Table, agreement, pages_of
from models.inference.stream import NonFiniteLogits, Sampling
from models.nets.transformer import Transformer
from models.seeds import uniforms


@dataclass(frozen=True)
class Capacity:
    """What an engine may take."""

    cache_bytes: int = 256 << 20  # keys and values; the system gives memory only for pages that were written
    rows: int = 64  # texts that are drawn at once; more wait
    prompt_tokens: int = 256  # of prompts that one step reads, so that texts under way need not wait long
    threads: int = 1
    share: bool = True  # beginnings that prompts have in common are read once


@dataclass(frozen=True)
class Token:
    """A token of a request. `reason`: None while the text goes on, else end (a stop id) or length."""

    request: int
    token: int
    logprob: float  # natural log-probability, full softmax at the sampling temperature
    top: list[tuple[int, float]]  # the likeliest ids and their log-probabilities, as many as were asked for
    reason: str | None


@dataclass(frozen=True)
class Failed:
    """A request that ended because its logits are no numbers."""

    request: int
    error: NonFiniteLogits


@dataclass
class _Text:
    """A request: all its tokens so far, and how many of them have their keys and values in the table's pages."""

    request: int
    tokens: list[int]
    prompt: int  # tokens of its prompt
    left: int  # tokens that may still be drawn
    sampling: Sampling
    stop_ids: frozenset[int]
    top: int
    uniforms: np.ndarray
    table: Table = field(default_factory=Table)
    written: int = 0

    @property
    def drawn(self) -> int:
        """Tokens drawn so far."""
        return len(self.tokens) - self.prompt

    @property
    def most(self) -> int:
        """Positions whose keys and values may ever be written: the last token's are not."""
        return self.prompt + self.left + self.drawn - 1


def can_run(model: object) -> bool:
    """Whether an engine computes what this model computes: a net without options, on a GPU or in float32 on the CPU."""
    return packed.can_run(model) or on_device.can_run(model)


class Engine:
    """A model with its cache. `submit`, then `step` until it is idle; one thread may use it at a time."""

    def __init__(self, model: Transformer, capacity: Capacity | None = None) -> None:
        """model: one for which `can_run` holds. Raises InputError on a cache of no page."""
        self.capacity, self.config = capacity or Capacity(), model.config
        there = on_device.can_run(model)
        weight = model.embedding.weight
        self.page_bytes = (
            on_device.bytes_per_page(model.config, weight.dtype) if there else bytes_per_page(model.config)
        )
        longest = pages_of(model.config.max_seq_len)
        total = min(self.capacity.cache_bytes // self.page_bytes, self.capacity.rows * longest * 2)
        if total < 1:
            raise InputError(f"a cache of {self.capacity.cache_bytes:,} B holds no page of {self.page_bytes:,} B")
        self.computes: Packed | OnDevice
        self.computes = OnDevice.of(model, total) if there else Packed.of(model, total, self.capacity.threads)
        self.pages = Pages(total, share=self.capacity.share)
        self._waiting: deque[_Text] = deque()
        self._running: list[_Text] = []
        self._number = 0
        self.read = 0  # tokens whose keys and values were computed, so far

    @property
    def idle(self) -> bool:
        """Whether nothing is under way or waits."""
        return not self._waiting and not self._running

    @property
    def waiting(self) -> int:
        """Requests that have not begun."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests under way."""
        return len(self._running)

    def submit(self, prompt: Sequence[int], sampling: Sampling, stop_ids: Collection[int], top: int = 0) -> int:
        """Queues a request and gives its number. top: how many likeliest tokens are told beside each that is drawn.

        Raises InputError on a prompt that leaves no room in the model's context or holds unknown ids, PoolTooSmall on
        one that can never fit into the cache.
        """
        limit, entries = self.config.max_seq_len, self.config.vocab_size
        if not 0 < len(prompt) < limit:
            raise InputError(f"the prompt has {len(prompt)} tokens; it must have 1 to {limit - 1}")
        if wrong := [token for token in prompt if not 0 <= token < entries]:
            raise InputError(f"token id {wrong[0]} is outside the model's vocabulary of {entries}")
        left = min(sampling.max_new_tokens, limit - len(prompt))
        if left < 1:
            raise InputError("max_new_tokens must be at least 1")
        self.pages.check(len(prompt) + left - 1, self.page_bytes)
        self._number += 1
        randoms = uniforms([sampling.seed], left)[0]
        stops = frozenset(stop_ids)
        tokens = [int(token) for token in prompt]
        self._waiting.append(_Text(self._number, tokens, len(tokens), left, sampling, stops, top, randoms))
        return self._number

    def cancel(self, request: int) -> bool:
        """Ends a request between steps and gives its pages back; whether it was there."""
        for text in self._waiting:
            if text.request == request:
                self._waiting.remove(text)
                return True
        for text in self._running:
            if text.request == request:
                self._leave(text)
                return True
        return False

    def step(self) -> list[Token | Failed]:
        """Lets requests in, reads some of the prompts, and draws for every text whose prompt is read.

        Empty when only prompts were read, or when nothing is there to do.
        """
        self._admit()
        if not self._running:
            return []
        due = self._due()
        rows, drawing = self._rows(due)
        logits = self.computes.step(rows)
        for text, count in due:
            before, text.written = text.written, text.written + count
            if text.written // PAGE > before // PAGE or (text.written == text.prompt and count):
                self.pages.learn(text.table, text.tokens[: text.written])
        self.read += len(rows.ids)
        return self._draw(drawing, logits) if drawing else []

    def _admit(self) -> None:
        """In the order of coming; one whose beginning another one is just reading waits for that."""
        for text in list(self._waiting):
            if len(self._running) >= self.capacity.rows:
                return
            if self.capacity.share and self._is_being_read(text):
                continue
            found = self.pages.begin(text.tokens, text.most)
            if found is None:
                return
            self._waiting.remove(text)
            text.table, text.written = found.table, found.tokens
            if found.copy is not None:
                self.computes.copy_page(*found.copy)
            self._running.append(text)

    def _is_being_read(self, text: _Text) -> bool:
        """Whether to wait: a prompt that is being read has this one's first page, or all of it but the last token."""
        wanted = min(PAGE, text.prompt - 1)
        return wanted > 0 and any(
            other.written < min(other.prompt, text.prompt - 1)
            and agreement(other.tokens[: other.prompt], text.tokens) > max(other.written, wanted - 1)
            for other in self._running
        )

    def _due(self) -> list[tuple[_Text, int]]:
        """The texts of this step and how many tokens of each are read: one of a text, a piece of a prompt."""
        due, budget = [], self.capacity.prompt_tokens
        for text in self._running:
            left = len(text.tokens) - text.written
            if left == 1 and text.written >= text.prompt:
                due.append((text, 1))
            elif budget > 0:
                due.append((text, min(left, budget)))
                budget -= due[-1][1]
        return due

    def _rows(self, due: list[tuple[_Text, int]]) -> tuple[Rows, list[_Text]]:
        """The step's tokens, and the texts whose next token its logits are for, in the order of `wanted`."""
        ids: list[int] = []
        positions: list[int] = []
        places: list[int] = []
        wanted, drawing = [], []
        for place, (text, count) in enumerate(due):
            last = text.written + count
            while len(text.table.pages) < pages_of(last):
                self.pages.grow(text.table)
            ids += text.tokens[text.written : last]
            positions += range(text.written, last)
            places += [place] * count
            if last == len(text.tokens):
                wanted.append(len(ids) - 1)
                drawing.append(text)
        tables = np.zeros((len(due), max(len(text.table.pages) for text, _ in due)), np.int32)
        for place, (text, _) in enumerate(due):
            tables[place, : len(text.table.pages)] = text.table.pages
        at, of = np.array(positions, np.int64), np.array(places, np.int64)
        return Rows(np.array(ids, np.int64), at, of, tables, np.array(wanted, np.int64)), drawing

    def _draw(self, texts: list[_Text], logits: Any) -> list[Token | Failed]:
        settings = [text.sampling for text in texts]
        temperatures = np.array([one.temperature for one in settings])
        tokens, logprobs, peaks, sums = self.computes.draw(
            logits,
            temperatures,
            np.array([min(one.top_k, self.config.vocab_size) for one in settings], np.int64),
            np.array([one.top_p for one in settings]),
            np.array([one.min_p for one in settings]),
            np.array([text.uniforms[text.drawn] for text in texts]),
        )
        events: list[Token | Failed] = []
        for place, text in enumerate(texts):
            token = int(tokens[place])
            if token < 0:
                self._leave(text, known=False)
                error = NonFiniteLogits("the model's logits are not finite: its weights cannot be used")
                events.append(Failed(text.request, error))
                continue
            top = []
            if text.top:
                scale = 1.0 / (temperatures[place] or 1.0)
                own = self.computes.row(logits, place)
                top = _likeliest(own, text.top, float(peaks[place]), float(sums[place]), float(np.float32(scale)))
            text.tokens.append(token)
            text.left -= 1
            reason = "end" if token in text.stop_ids else "length" if text.left == 0 else None
            if reason is not None:
                self._leave(text)
            events.append(Token(text.request, token, float(logprobs[place]), top, reason))
        return events

    def _leave(self, text: _Text, *, known: bool = True) -> None:
        self._running.remove(text)
        if known and text.written:
            self.pages.learn(text.table, text.tokens[: text.written])
        self.pages.end(text.table)


def _likeliest(logits: np.ndarray, count: int, peak: float, log_sum: float, scale: float) -> list[tuple[int, float]]:
    """The likeliest ids and their log-probabilities; of equals, lower ids first."""
    count = min(count, logits.size)
    border = np.partition(logits, logits.size - count)[logits.size - count]
    found = np.flatnonzero(logits >= border)
    order = found[np.lexsort((found, -logits[found].astype(np.float64)))][:count]
    return [(int(token), (float(logits[token]) - peak) * scale - log_sum) for token in order]
