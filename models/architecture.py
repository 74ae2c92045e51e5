"""The configuration of a network; no torch here, so the control plane reads it cheaply.

One trunk, two profiles. `plain`, all options at their default, is Qwen3's layout. `fast` is the speedrun's: squared
ReLU, capped logits, value tables, weighted residuals, sliding windows; it runs on our own engine alone. The other nets
put other mixers into the same blocks: which layer has which one is `kinds`.
"""

import json
from dataclasses import dataclass, field
from typing import Literal

from models.frozen import OPTION, InputError, as_dict, from_dict

FULL, SLIDING, MAMBA, LSTM, WINDOW, NONE = "LSMRW-"
LETTERS = {
    "transformer": (FULL, SLIDING),
    "mamba": (MAMBA,),
    "hybrid": (FULL, SLIDING, MAMBA, LSTM),
    "lstm": (LSTM,),
    "mlp": (WINDOW, NONE),
}


@dataclass(frozen=True)
class TransformerConfig:
    """A network. With every option at its default any checkpoint loads as Qwen3ForCausalLM."""

    vocab_size: int  # rows of the embedding; equals the tokenizer's size
    d_model: int  # width of the residual stream
    n_layers: int
    n_heads: int  # query heads
    n_kv_heads: int  # key and value heads; divides n_heads
    head_dim: int  # even; n_heads * head_dim need not equal d_model
    d_ff: int  # inner width of the feed-forward part; 0 (not in a transformer): blocks have none
    max_seq_len: int  # tokens; positions beyond it are refused
    rope_theta: float = 100_000.0  # base of the rotary frequencies
    norm_eps: float = 1e-6
    tie_embeddings: bool = False  # the output projection is the embedding
    qk_norm: bool = field(default=True, metadata=OPTION)  # False: Llama's layout, for models that come from elsewhere
    net: Literal["transformer", "mamba", "hybrid", "lstm", "mlp"] = field(default="transformer", metadata=OPTION)
    layers: str = field(default="", metadata=OPTION)  # kinds of layers in turn, repeated: L, S; hybrid: also M, R
    window: int = field(default=0, metadata=OPTION)  # tokens that an S layer sees, or an mlp: itself and those before
    activation: Literal["swiglu", "relu2"] = field(default="swiglu", metadata=OPTION)  # relu2: down(relu(up(x))^2)
    softcap: float = field(default=0.0, metadata=OPTION)  # logits become softcap * tanh(logits / softcap); 0: as is
    value_tables: int = field(default=0, metadata=OPTION)  # n: the first and the last n layers add table i to values
    residual_weights: bool = field(default=False, metadata=OPTION)  # a layer reads a x + b x0, both learned, x0 at 0
    d_state: int = field(default=16, metadata=OPTION)  # mamba: numbers of state a channel
    d_conv: int = field(default=4, metadata=OPTION)  # mamba: taps of the convolution
    expand: int = field(default=2, metadata=OPTION)  # mamba: channels, in multiples of d_model

    def __post_init__(self) -> None:
        sizes = ["vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "max_seq_len"]
        sizes += ["d_state", "d_conv", "expand"] + (["d_ff"] if self.net in ("transformer", "mlp") else [])
        for name in sizes:
            if getattr(self, name) < 1:
                raise InputError(f"TransformerConfig.{name} must be at least 1, got {getattr(self, name)}")
        if self.n_heads % self.n_kv_heads:
            raise InputError(f"n_kv_heads {self.n_kv_heads} does not divide n_heads {self.n_heads}")
        if self.head_dim % 2:
            raise InputError(f"head_dim must be even for rotary positions, got {self.head_dim}")
        if self.net not in LETTERS:
            raise InputError(f"net must be one of {', '.join(LETTERS)}, got {self.net!r}")
        if self.activation not in ("swiglu", "relu2"):
            raise InputError(f"activation must be swiglu or relu2, got {self.activation!r}")
        if self.net == "hybrid" and not self.layers:
            raise InputError("a hybrid needs layers, the kinds of its layers in turn, e.g. MML")
        if unknown := sorted(set(self.layers) - set(LETTERS[self.net])):
            raise InputError(f"layers of a {self.net} are {', '.join(LETTERS[self.net])}, not {', '.join(unknown)}")
        if self.window < 1 and {SLIDING, WINDOW} & set(self.kinds):
            raise InputError(f"window must be at least 1 where layers see one, got {self.window}")
        if not 0 <= 2 * self.value_tables <= self.n_layers or (self.value_tables and self.net != "transformer"):
            raise InputError(f"value_tables {self.value_tables} needs a transformer of at least twice as many layers")

    @property
    def kinds(self) -> str:
        """The mixer of each layer: L attention, S attention in a window, M Mamba, R LSTM, W a window's concatenation,
        - none. A transformer's last layer sees everything."""
        if self.net == "mlp":
            return WINDOW + NONE * (self.n_layers - 1)
        pattern = self.layers or LETTERS[self.net][0]
        kinds = (pattern * self.n_layers)[: self.n_layers]
        return kinds[:-1] + FULL if self.net == "transformer" else kinds

    @property
    def profile(self) -> str:
        """`plain` where a Qwen3 or Llama layout holds all of it, `fast` for a transformer beyond that, else the net."""
        beyond = SLIDING in self.kinds or self.activation != "swiglu" or self.softcap or self.value_tables
        if self.net != "transformer":
            return self.net
        return "fast" if beyond or self.residual_weights else "plain"

    @property
    def table_of(self) -> dict[int, int]:
        """Layer to the value table that it adds."""
        first = {i: i for i in range(self.value_tables)}
        return first | {self.n_layers - self.value_tables + i: i for i in first}

    @property
    def inner(self) -> int:
        """Channels of a Mamba mixer."""
        return self.expand * self.d_model

    @property
    def dt_rank(self) -> int:
        """Rank of a Mamba mixer's step sizes."""
        return -(-self.d_model // 16)

    @property
    def n_params(self) -> int:
        """Parameters of the model; a tied embedding counts once."""
        d, kv = self.d_model, self.n_kv_heads * self.head_dim
        embeddings = self.vocab_size * d * (1 if self.tie_embeddings else 2)
        extra = self.value_tables * self.vocab_size * kv + len(self.table_of)
        extra += 2 * self.n_layers if self.residual_weights else 0
        vectors = {
            FULL: 2 * self.head_dim if self.qk_norm else 0,
            MAMBA: self.inner * (self.d_conv + self.d_state + 3),  # taps and their bias, A, D, bias of the step sizes
            LSTM: 8 * d,
        }
        vectors[SLIDING] = vectors[FULL]
        blocks = sum(self.matrices(kind) + vectors.get(kind, 0) + d * self._norms(kind) for kind in self.kinds)
        return embeddings + extra + blocks + d

    def matrices(self, kind: str) -> int:
        """Weights of a block's matrices: each is one multiplication and one addition a token."""
        d, inner = self.d_model, self.inner
        mixer = {
            FULL: 2 * d * self.head_dim * (self.n_heads + self.n_kv_heads),
            SLIDING: 2 * d * self.head_dim * (self.n_heads + self.n_kv_heads),
            MAMBA: 2 * d * inner + inner * (self.dt_rank + 2 * self.d_state) + self.dt_rank * inner + inner * d,
            LSTM: 8 * d * d,
            WINDOW: self.window * d * d,
            NONE: 0,
        }[kind]
        return mixer + (3 if self.activation == "swiglu" else 2) * d * self.d_ff

    def _norms(self, kind: str) -> int:
        return (kind != NONE) + (self.d_ff > 0)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, two-space indent."""
        return json.dumps(as_dict(self), sort_keys=True, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "TransformerConfig":
        """Inverse of `to_json`; an unknown or missing field raises InputError."""
        return from_dict(cls, json.loads(text))
