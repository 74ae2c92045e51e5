"""A Transformer's weights as kernels/decode reads them, and the engine's step on the CPU."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
import torch

from kernels.decode.draw import draw
from kernels.decode.step import PAGE, Sizes, Weights, forward, page_bytes, panels, pools
from models.config import TransformerConfig
from models.nets.transformer import Transformer


@dataclass(frozen=True)
class Rows:
    """Tokens of one step, int64 (rows,) each: row r is ids[r] at positions[r] of the sequence with tables[places[r]].

    tables: int32 (sequences, pages), page numbers; wanted: int64, the rows whose logits are asked for.
    """

    ids: np.ndarray
    positions: np.ndarray
    places: np.ndarray
    tables: np.ndarray
    wanted: np.ndarray


def is_plain(model: object) -> bool:
    """Whether it is a transformer without options (but for the norm of heads)."""
    if type(model) is not Transformer:
        return False
    options = [one for one in dataclasses.fields(model.config) if one.metadata.get("option") and one.name != "qk_norm"]
    return all(getattr(model.config, one.name) == one.default for one in options)


def can_run(model: object) -> bool:
    """Whether `Packed` computes what this model computes: a net without options, in float32 on the CPU."""
    if not is_plain(model):
        return False
    weight = model.embedding.weight  # type: ignore[attr-defined]
    return weight.dtype == torch.float32 and weight.device.type == "cpu"


@dataclass
class Packed:
    """The weights of a model in panels (a copy), and pages for the keys and values of `pages` times PAGE positions."""

    weights: Weights
    sizes: Sizes
    vocabulary: int
    threads: int
    keys: np.ndarray = field(repr=False)
    values: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, model: Transformer, pages: int, threads: int = 1) -> "Packed":
        """Packs a model for which `can_run` holds."""
        config = model.config
        sizes = sizes_of(config)
        keys, values = pools(config.n_layers, pages, sizes)
        return cls(weights_of(model), sizes, config.vocab_size, threads, keys, values)

    @property
    def bytes(self) -> int:
        """That the packed weights take; of an embedding that is also the head, twice."""
        return sum(one.nbytes for one in self.weights)

    def step(self, rows: Rows) -> np.ndarray:
        """Logits (wanted, vocabulary padded), float32; columns beyond the vocabulary hold nothing of meaning."""
        most = numba.config.NUMBA_NUM_THREADS  # pyright: ignore[reportAttributeAccessIssue]
        numba.set_num_threads(min(self.threads, most))
        return forward(
            self.weights, self.sizes, rows.ids, rows.positions, rows.places, rows.tables, rows.wanted, self.keys,
            self.values,
        )  # fmt: skip

    def draw(self, logits: np.ndarray, *settings: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """One token a row; settings and results as in kernels/decode/draw.py."""
        return draw(logits, self.vocabulary, *settings)

    def row(self, logits: np.ndarray, place: int) -> np.ndarray:
        """The logits of one row, (V,) float32."""
        return logits[place, : self.vocabulary]

    def copy_page(self, source: int, target: int) -> None:
        """The keys and values of one page, into another."""
        self.keys[:, target], self.values[:, target] = self.keys[:, source], self.values[:, source]


def sizes_of(config: TransformerConfig) -> Sizes:
    """What a step needs to know beside its arrays."""
    return Sizes(config.n_heads, config.n_kv_heads, config.head_dim, config.norm_eps)


def bytes_per_page(config: TransformerConfig) -> int:
    """Bytes of the keys and values of PAGE positions."""
    return page_bytes(config.n_layers, sizes_of(config))


def weights_of(model: Transformer) -> Weights:
    """The arrays of a step."""
    config, hidden = model.config, model.config.d_ff

    def plain(tensor: torch.Tensor) -> np.ndarray:
        return np.ascontiguousarray(tensor.detach().numpy())

    def stacked(matrices: list[np.ndarray]) -> np.ndarray:
        return np.stack([panels(one) for one in matrices])

    def heads_norm(name: str) -> np.ndarray:
        if not config.qk_norm:
            return np.zeros((config.n_layers, 0), np.float32)
        return np.stack([plain(getattr(block.attention, name).weight) for block in blocks])

    blocks: list[Any] = list(model.blocks)
    gate_up = [plain(block.mlp.gate_up.weight) for block in blocks]
    padding = ((0, 0), (0, -hidden % PAGE))  # the width of gate and up in panels is the depth of down
    return Weights(
        embedding=plain(model.embedding.weight),
        attention_norm=np.stack([plain(block.attention_norm.weight) for block in blocks]),
        qkv=stacked([plain(block.attention.qkv.weight) for block in blocks]),
        q_norm=heads_norm("q_norm"),
        k_norm=heads_norm("k_norm"),
        out=stacked([plain(block.attention.out.weight) for block in blocks]),
        mlp_norm=np.stack([plain(block.mlp_norm.weight) for block in blocks]),
        gate=stacked([one[:hidden] for one in gate_up]),
        up=stacked([one[hidden:] for one in gate_up]),
        down=stacked([np.pad(plain(block.mlp.down.weight), padding) for block in blocks]),
        norm=plain(model.norm.weight),
        head=panels(plain(model.head.weight)),
        rotary=plain(model.rotary),
    )
