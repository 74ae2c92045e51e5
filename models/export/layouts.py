"""Our trunk under the names of Hugging Face's Qwen3 and Llama, both ways: fused projections cut into rows or joined.

Qwen3 has norms on queries and keys (`qk_norm`), Llama has none; all else is the same arithmetic. Numbers do not change.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from models.config import InputError, TransformerConfig


def check_layout(config: TransformerConfig) -> None:
    """Raises InputError unless Qwen3's or Llama's layout holds all of the architecture."""
    if config.profile != "plain":
        raise InputError(
            f"a {config.profile} model cannot be exported: no Hugging Face or GGUF layout holds its parts, so it runs"
            " on Stemma's own engine alone; train with the plain profile (recipes plain-…) for other engines"
        )


def theirs(config: TransformerConfig, ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's names to our weights; a tied head is left out. InputError where they have no names."""
    check_layout(config)
    queries, keys = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    found = {"model.embed_tokens.weight": ours["embedding.weight"], "model.norm.weight": ours["norm.weight"]}
    if not config.tie_embeddings:
        found["lm_head.weight"] = ours["head.weight"]
    for layer in range(config.n_layers):
        block, target = f"blocks.{layer}", f"model.layers.{layer}"
        q, k, v = ours[f"{block}.attention.qkv.weight"].split([queries, keys, keys])
        gate, up = ours[f"{block}.mlp.gate_up.weight"].chunk(2)
        found |= {
            f"{target}.input_layernorm.weight": ours[f"{block}.attention_norm.weight"],
            f"{target}.self_attn.q_proj.weight": q,
            f"{target}.self_attn.k_proj.weight": k,
            f"{target}.self_attn.v_proj.weight": v,
            f"{target}.self_attn.o_proj.weight": ours[f"{block}.attention.out.weight"],
            f"{target}.post_attention_layernorm.weight": ours[f"{block}.mlp_norm.weight"],
            f"{target}.mlp.gate_proj.weight": gate,
            f"{target}.mlp.up_proj.weight": up,
            f"{target}.mlp.down_proj.weight": ours[f"{block}.mlp.down.weight"],
        }
        if config.qk_norm:
            found[f"{target}.self_attn.q_norm.weight"] = ours[f"{block}.attention.q_norm.weight"]
            found[f"{target}.self_attn.k_norm.weight"] = ours[f"{block}.attention.k_norm.weight"]
    return {name: value.contiguous() for name, value in found.items()}


def shapes(config: TransformerConfig) -> dict[str, tuple[int, ...]]:
    """Hugging Face's names to the shapes that a checkpoint of this architecture must have."""
    from models.nets.transformer import Transformer

    with torch.device("meta"):
        made = Transformer(config)
        blank = {name: torch.empty(value.shape) for name, value in made.named_parameters()}
    return {name: tuple(value.shape) for name, value in theirs(config, blank).items()}


def ours(config: TransformerConfig, read: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """Our names to float32 weights; `read` gives the tensor of a name of theirs. InputError names a wrong shape."""
    expected = shapes(config)

    def get(name: str) -> Tensor:
        value = read(name)
        if tuple(value.shape) != expected[name]:
            raise InputError(f"{name} has shape {tuple(value.shape)}, its config.json asks for {expected[name]}")
        return value.float()

    found = {"embedding.weight": get("model.embed_tokens.weight"), "norm.weight": get("model.norm.weight")}
    if not config.tie_embeddings:
        found["head.weight"] = get("lm_head.weight")
    for layer in range(config.n_layers):
        block, source = f"blocks.{layer}", f"model.layers.{layer}"
        attention, mlp = f"{source}.self_attn", f"{source}.mlp"
        found |= {
            f"{block}.attention_norm.weight": get(f"{source}.input_layernorm.weight"),
            f"{block}.attention.qkv.weight": torch.cat([get(f"{attention}.{one}_proj.weight") for one in "qkv"]),
            f"{block}.attention.out.weight": get(f"{attention}.o_proj.weight"),
            f"{block}.mlp_norm.weight": get(f"{source}.post_attention_layernorm.weight"),
            f"{block}.mlp.gate_up.weight": torch.cat([get(f"{mlp}.{one}_proj.weight") for one in ("gate", "up")]),
            f"{block}.mlp.down.weight": get(f"{mlp}.down_proj.weight"),
        }
        if config.qk_norm:
            for one in "qk":
                found[f"{block}.attention.{one}_norm.weight"] = get(f"{attention}.{one}_norm.weight")
    return found
