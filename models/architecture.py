"""The configuration of a network; no torch here, so the control plane reads it cheaply."""

import json
from dataclasses import dataclass, field

from models.frozen import OPTION, InputError, as_dict, from_dict


@dataclass(frozen=True)
class TransformerConfig:
    """The `plain` architecture: Qwen3's layout, so that any checkpoint loads as Qwen3ForCausalLM."""

    vocab_size: int  # rows of the embedding; equals the tokenizer's size
    d_model: int  # width of the residual stream
    n_layers: int
    n_heads: int  # query heads
    n_kv_heads: int  # key and value heads; divides n_heads
    head_dim: int  # even; n_heads * head_dim need not equal d_model
    d_ff: int  # inner width of the SwiGLU
    max_seq_len: int  # tokens; positions beyond it are refused
    rope_theta: float = 100_000.0  # base of the rotary frequencies
    norm_eps: float = 1e-6
    tie_embeddings: bool = False  # the output projection is the embedding
    qk_norm: bool = field(default=True, metadata=OPTION)  # False: Llama's layout, for models that come from elsewhere

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "max_seq_len")
        for name in sizes:
            if getattr(self, name) < 1:
                raise InputError(f"TransformerConfig.{name} must be at least 1, got {getattr(self, name)}")
        if self.n_heads % self.n_kv_heads:
            raise InputError(f"n_kv_heads {self.n_kv_heads} does not divide n_heads {self.n_heads}")
        if self.head_dim % 2:
            raise InputError(f"head_dim must be even for rotary positions, got {self.head_dim}")

    @property
    def n_params(self) -> int:
        """Parameters of the model; a tied embedding counts once."""
        attention = self.d_model * self.head_dim * 2 * (self.n_heads + self.n_kv_heads)
        attention += 2 * self.head_dim if self.qk_norm else 0
        block = attention + 3 * self.d_model * self.d_ff + 2 * self.d_model
        embeddings = self.vocab_size * self.d_model * (1 if self.tie_embeddings else 2)
        return embeddings + self.n_layers * block + self.d_model

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, two-space indent."""
        return json.dumps(as_dict(self), sort_keys=True, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "TransformerConfig":
        """Inverse of `to_json`; an unknown or missing field raises InputError."""
        return from_dict(cls, json.loads(text))
