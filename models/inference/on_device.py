"""The engine's step on a GPU: torch's products around paged attention and draws (kernels/device).

A step of a small model is hundreds of launches that take longer than their work, so it is recorded once for each size
(rows and pages rounded up to a power of two) as a CUDA graph and replayed. Rows that fill up a size write into a page
that no text has. A row's attention and its draw do not depend on the rows beside it; torch's products choose their
blocking by the number of rows, so its last bits may (on the CPU, models/inference/packed.py, they do not).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernels.decode.step import PAGE
from kernels.device.decode import paged_attention
from kernels.device.logprobs import Passes
from kernels.device.sampling import draw
from models.config import TransformerConfig
from models.inference.packed import Rows, is_plain
from models.nets.transformer import Transformer, rotate

MOST_GRAPHED = 512  # rows; a step of more, which reads much of a prompt, has enough work to hide its launches


def can_run(model: object) -> bool:
    """Whether `OnDevice` computes what this model computes: a net without options, on a GPU."""
    return is_plain(model) and model.embedding.weight.is_cuda  # type: ignore[attr-defined]


def bytes_per_page(config: TransformerConfig, dtype: torch.dtype) -> int:
    """Bytes of the keys and values of PAGE positions."""
    return 2 * config.n_layers * config.n_kv_heads * config.head_dim * PAGE * dtype.itemsize


@dataclass
class OnDevice:
    """A model and pages for the keys and values of `pages` times PAGE positions, (layers, pages + 1, PAGE, G, K); the
    last page belongs to nobody."""

    model: Transformer
    keys: Tensor = field(repr=False)
    values: Tensor = field(repr=False)
    passes: Passes | None = None
    graphs: "dict[tuple[int, int], _Graph]" = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, model: Transformer, pages: int, passes: Passes | None = None) -> "OnDevice":
        """For a model for which `is_plain` holds, wherever its weights are."""
        config, weight = model.config, model.embedding.weight
        shape = config.n_layers, pages + 1, PAGE, config.n_kv_heads, config.head_dim
        keys, values = (torch.zeros(shape, dtype=weight.dtype, device=weight.device) for _ in range(2))
        return cls(model, keys, values, passes)

    @torch.inference_mode()
    def step(self, rows: Rows) -> Tensor:
        """Logits (wanted, V), float32, on the device."""
        count, width = len(rows.ids), rows.tables.shape[1]
        size, wide = _power(count), _power(width)
        ids, positions = np.zeros(size, np.int64), np.zeros(size, np.int64)
        tables = np.full((size, wide), self.keys.shape[1] - 1, np.int32)
        ids[:count], positions[:count], tables[:count, :width] = rows.ids, rows.positions, rows.tables[rows.places]
        given = [torch.from_numpy(one).to(self.keys.device) for one in (ids, positions, tables)]
        if self.keys.is_cuda and size <= MOST_GRAPHED:
            if (size, wide) not in self.graphs:
                self.graphs[size, wide] = _Graph(self._hidden, given, self.keys.shape[1] - 1)
            hidden = self.graphs[size, wide](given)
        else:
            hidden = self._hidden(*given)
        return self.model.logits(hidden[torch.from_numpy(rows.wanted).to(hidden.device)])

    def _hidden(self, ids_R: Tensor, positions_R: Tensor, tables_RT: Tensor) -> Tensor:
        """The last hidden states (R, D) of rows whose keys and values are written into their pages on the way."""
        model, config = self.model, self.model.config
        rotary = model.rotary[:, positions_R][:, None, :, None]  # (2, 1, R, 1, K)
        pages_R = tables_RT.gather(1, (positions_R // PAGE)[:, None])[:, 0].long()
        slots_R, lengths_R = positions_R % PAGE, (positions_R + 1).int()
        x_RD = model.embedding(ids_R)
        blocks: list[Any] = list(model.blocks)
        for layer, block in enumerate(blocks):
            attention = block.attention
            heads = attention.qkv(block.attention_norm(x_RD)).view(1, len(x_RD), -1, config.head_dim)
            q, k, v = heads.split([config.n_heads, config.n_kv_heads, config.n_kv_heads], dim=2)
            q, k = rotate(attention.q_norm(q), rotary)[0], rotate(attention.k_norm(k), rotary)[0]
            self.keys[layer][pages_R, slots_R] = k
            self.values[layer][pages_R, slots_R] = v[0]
            pools = self.keys[layer], self.values[layer]
            mixed = paged_attention(q, *pools, tables_RT, lengths_R, passes=self.passes)
            x_RD = x_RD + attention.out(mixed.flatten(1))
            x_RD = x_RD + block.mlp(block.mlp_norm(x_RD))
        return model.norm(x_RD)

    @torch.inference_mode()
    def draw(self, logits: Tensor, *settings: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """One token a row; settings and results as in kernels/decode/draw.py."""
        given = [torch.from_numpy(one).to(logits.device) for one in settings]
        found = draw(logits, *given, passes=self.passes)
        tokens, logprobs, peaks, sums = torch.stack([one.double() for one in found]).cpu().numpy()
        return tokens.astype(np.int64), logprobs, peaks.astype(np.float32), sums

    def row(self, logits: Tensor, place: int) -> np.ndarray:
        """The logits of one row, (V,) float32."""
        return logits[place].cpu().numpy()

    def copy_page(self, source: int, target: int) -> None:
        """The keys and values of one page, into another."""
        self.keys[:, target], self.values[:, target] = self.keys[:, source], self.values[:, source]


class _Graph:
    """A step of one size, recorded; the inputs are copied into the memory that it was recorded with."""

    def __init__(self, compute: Callable[..., Tensor], given: list[Tensor], nobodys: int) -> None:
        self._given = [torch.zeros_like(one) for one in given]
        self._given[-1].fill_(nobodys)  # what is written while recording goes into nobody's page
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # kernels are compiled and libraries reserve memory before it is recorded
            for _ in range(2):
                compute(*self._given)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._made = compute(*self._given)

    def __call__(self, given: list[Tensor]) -> Tensor:
        """The result, in memory that the next call writes over."""
        for own, one in zip(self._given, given, strict=True):
            own.copy_(one)
        self._graph.replay()
        return self._made


def _power(size: int) -> int:
    return 1 << (size - 1).bit_length()
